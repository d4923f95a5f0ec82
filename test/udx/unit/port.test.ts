import { ptr } from 'bun:ffi'
import { describe, expect, test } from 'bun:test'
import { openLibc } from '../../../src/base/c-library.ts'
import { createTraffic } from '../../../src/udx/stream/core.ts'
import { type OpenSocket, Port } from '../../../src/udx/socket/port.ts'
import type { Route } from '../../../src/udx/stream/rings.ts'
import { SlotPool } from '../../../src/udx/stream/slots.ts'

const ROUTE: Route = { remoteId: 1, host: '10.0.0.1', port: 9, overhead: 48 }

/** A kernel that takes `room` datagrams, then refuses; `errors` are thrown first, one a call. */
class FakeKernel {
  room = Infinity
  errors: string[] = []
  ttl = 64
  sent: string[] = []
  drain: () => void = () => undefined

  open: OpenSocket = (options) => {
    this.drain = () => options.socket?.drain?.(socket)
    const socket = {
      port: 4000,
      fd: -1,
      setTTL: (ttl: number) => {
        this.ttl = ttl
        return ttl
      },
      send: (bytes: Uint8Array) => this.#take(bytes),
      sendMany: (batch: (Uint8Array | number | string)[]) => {
        let count = 0
        for (let i = 0; i < batch.length; i += 3) {
          const bytes = batch[i]
          if (!(bytes instanceof Uint8Array)) throw new TypeError('Not a packet')
          if (this.errors.length > 0 && count > 0) return count
          if (!this.#take(bytes)) return count
          count++
        }
        return count
      },
      close: () => undefined
    } as unknown as Awaited<ReturnType<OpenSocket>>
    // Bun.peek() takes what is no promise as it is.
    return socket as unknown as Promise<typeof socket>
  }

  #take(bytes: Uint8Array): boolean {
    const code = this.errors.shift()
    if (code !== undefined) throw Object.assign(new Error(code), { code })
    if (this.sent.length >= this.room) return false
    this.sent.push(`${Buffer.from(bytes).toString()}@${this.ttl}`)
    return true
  }
}

function createPort(kernel: Pick<FakeKernel, 'open'>): { port: Port; drained: () => number } {
  let drains = 0
  const turn = { pool: new SlotPool(), traffic: createTraffic(), wakeSocket: () => undefined }
  const options = {
    port: 0,
    host: '127.0.0.1',
    family: 4 as const,
    ipv6Only: false,
    reuseAddress: false,
    onpacket: () => undefined,
    ondrain: () => void drains++
  }
  return { port: new Port(turn, options, kernel.open), drained: () => drains }
}

type GetOption = (fd: number, level: number, name: number, at: number, length: number) => number
type Real = Bun.udp.Socket<'buffer'> & { fd: number }

function queueAll(port: Port, words: readonly string[]): void {
  for (const word of words) port.queue(Buffer.from(word), ROUTE)
}

describe('Port', () => {
  test('sends a batch in order', () => {
    const kernel = new FakeKernel()
    const { port } = createPort(kernel)
    queueAll(port, ['a', 'b', 'c'])
    port.flush()
    expect(kernel.sent).toEqual(['a@64', 'b@64', 'c@64'])
  })

  test('loses no datagram to the ICMP error of another', () => {
    const kernel = new FakeKernel()
    const { port } = createPort(kernel)
    kernel.errors = ['ECONNREFUSED']
    queueAll(port, ['a', 'b', 'c'])
    port.flush()
    kernel.errors = ['ECONNREFUSED']
    port.send(Buffer.from('d'), 9, '10.0.0.2', 0)
    expect(kernel.sent).toEqual(['a@64', 'b@64', 'c@64', 'd@64'])
  })

  test('gives up a datagram that is refused again and goes on with the next', () => {
    const kernel = new FakeKernel()
    const { port } = createPort(kernel)
    kernel.errors = ['ENETUNREACH', 'ENETUNREACH', 'ENETUNREACH']
    queueAll(port, ['a', 'b', 'c'])
    port.flush()
    expect([kernel.sent, port.blocked]).toEqual([['b@64', 'c@64'], false])
  })

  test('keeps copies of what a full kernel does not take, and their TTL, until it drains', () => {
    const kernel = new FakeKernel()
    const { port, drained } = createPort(kernel)
    kernel.room = 1
    const reused = Buffer.from('b')
    port.queue(Buffer.from('a'), ROUTE)
    port.queue(reused, ROUTE)
    port.flush()
    reused.fill('x')
    port.send(Buffer.from('c'), 9, '10.0.0.2', 5)
    expect([kernel.sent, port.blocked]).toEqual([['a@64'], true])
    kernel.room = 2
    kernel.drain()
    expect([kernel.sent, port.blocked, drained()]).toEqual([['a@64', 'b@64'], true, 0])
    kernel.room = Infinity
    kernel.drain()
    expect([kernel.sent, port.blocked, drained()]).toEqual([['a@64', 'b@64', 'c@5'], false, 1])
  })

  test('sends a probe of the path alone, behind what was queued before it', () => {
    const kernel = new FakeKernel()
    const { port } = createPort(kernel)
    queueAll(port, ['a', 'b'])
    port.queue(Buffer.from('probe'), ROUTE, true)
    expect(kernel.sent).toEqual(['a@64', 'b@64', 'probe@64'])
    queueAll(port, ['c'])
    kernel.room = 3
    port.flush()
    port.queue(Buffer.from('late'), ROUTE, true)
    kernel.room = Infinity
    kernel.drain()
    expect(kernel.sent.slice(3)).toEqual(['c@64', 'late@64'])
  })

  test.if(process.platform === 'linux')('lets networks cut all datagrams but probes', async () => {
    const libc = openLibc<{ getsockopt: GetOption }>({
      getsockopt: { args: ['i32', 'i32', 'i32', 'ptr', 'ptr'], returns: 'i32' }
    })
    const sent: [string, number][] = []
    const open: OpenSocket = (options) => {
      const socket = Bun.peek(Bun.udpSocket(options)) as unknown as Real
      const note = (bytes: Uint8Array): void => {
        const [value, length] = [new Int32Array(1), new Uint32Array([4])]
        expect(libc.getsockopt(socket.fd, 0, 10, ptr(value), ptr(length))).toBe(0)
        sent.push([Buffer.from(bytes).toString(), value[0] ?? -1])
      }
      const watched = {
        port: socket.port,
        fd: socket.fd,
        close: () => socket.close(),
        send: (bytes: Uint8Array, at: number, host: string) => {
          note(bytes)
          return socket.send(bytes, at, host)
        },
        sendMany: (batch: (Uint8Array | number | string)[]) => {
          for (const one of batch) if (one instanceof Uint8Array) note(one)
          return socket.sendMany(batch)
        }
      }
      return watched as unknown as ReturnType<OpenSocket>
    }
    const { port } = createPort({ open })
    const route = { ...ROUTE, host: '127.0.0.1' }
    port.queue(Buffer.from('data'), route)
    port.queue(Buffer.from('probe'), route, true)
    port.send(Buffer.from('one'), 9, '127.0.0.1', 0)
    port.close()
    // IP_PMTUDISC_DONT, and IP_PMTUDISC_PROBE.
    expect(sent).toEqual([
      ['data', 0],
      ['probe', 3],
      ['one', 0]
    ])
  })

  test('gives one datagram a TTL of its own', () => {
    const kernel = new FakeKernel()
    const { port } = createPort(kernel)
    port.setTTL(20)
    port.send(Buffer.from('a'), 9, '10.0.0.2', 5)
    port.send(Buffer.from('b'), 9, '10.0.0.2', 0)
    expect([kernel.sent, kernel.ttl]).toEqual([['a@5', 'b@20'], 20])
  })
})
