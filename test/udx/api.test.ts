// What src/udx answers to odd arguments, where udx-native's own tests do not look. Each was
// compared with udx-native 1.21.3 under node.
import { afterEach, describe, expect, test } from 'bun:test'
import { once } from 'node:events'
import { UDX, type UDXSocket, type UDXStream } from '../../src/udx/index.ts'
import { DESTROY, encodePacket } from './packet.ts'

const open: UDXSocket[] = []

afterEach(async () => {
  for (const socket of open.splice(0)) {
    for (const stream of socket.streams) stream.destroy()
    await socket.close()
  }
})

function bound(udx: UDX): UDXSocket {
  const socket = udx.createSocket()
  socket.bind(0, '127.0.0.1')
  open.push(socket)
  return socket
}

function pair(): [UDXStream, UDXStream] {
  const udx = new UDX()
  const [s1, s2] = [bound(udx), bound(udx)]
  const [a, b] = [udx.createStream(1), udx.createStream(2)]
  a.on('error', () => undefined).connect(s1, 2, s2.address()?.port ?? 0)
  b.on('error', () => undefined).connect(s2, 1, s1.address()?.port ?? 0)
  return [a, b]
}

function codeOf(call: () => unknown): unknown {
  try {
    return call()
  } catch (error) {
    return error instanceof Error && 'code' in error ? error.code : error
  }
}

describe('a stream', () => {
  test('that is destroyed when it has finished still delivers what it ended with', async () => {
    const [a, b] = pair()
    const got: Buffer[] = []
    b.on('data', (data) => got.push(data))
    const closed = new Promise<void>((resolve) => b.once('close', () => resolve()))
    a.on('finish', () => a.destroy()).end('last words')
    await closed
    expect(Buffer.concat(got).toString()).toBe('last words')
  })

  test('that is reset while a write waits for room fails and throws nothing', async () => {
    const udx = new UDX()
    const [socket, peer] = [bound(udx), bound(udx)]
    const stream = udx.createStream(1)
    const failed = new Promise((resolve) => stream.on('error', resolve))
    const closed = new Promise<void>((resolve) => stream.on('close', () => resolve()))
    stream.connect(socket, 2, peer.address()?.port ?? 0)
    stream.write(new Uint8Array(1 << 20))
    await once(peer, 'message')
    stream.write('behind the one that waits')
    peer.trySend(encodePacket({ streamId: 1, flags: DESTROY }), socket.address()?.port ?? 0)
    expect(await failed).toMatchObject({ code: 'ECONNRESET' })
    await closed
  })

  test('writes the bytes of any view', async () => {
    const [a, b] = pair()
    const data = once(b, 'data')
    a.write(new Uint16Array([0x0201, 0x0403]).subarray(1))
    expect([...(await data)[0]]).toEqual([3, 4])
  })

  test('sends the bytes of strings and of any view, and refuses what has none', async () => {
    const [a, b] = pair()
    const messages: string[] = []
    const two = new Promise<void>((resolve) =>
      b.on('message', (message) => messages.push(message.toString()) === 2 && resolve())
    )
    a.trySend(new Uint16Array([0x4241, 0x4443]) as unknown as Uint8Array)
    a.trySend('text' as unknown as Uint8Array)
    await two
    expect(messages.sort()).toEqual(['ABCD', 'text'])
    await expect(a.send(5 as unknown as Uint8Array)).rejects.toThrow('Only bytes and strings')
  })

  test.each([
    ['destroyed', (stream: UDXStream) => stream.destroy()],
    ['moved on', (stream: UDXStream, to: UDXSocket) => stream.changeRemote(to, 2, 9)]
  ] as const)('that is %s when its remote has changed holds no socket open', async (_, react) => {
    const udx = new UDX()
    const [first, second, third] = [bound(udx), bound(udx), bound(udx)]
    const stream = udx.createStream(1)
    stream.connect(first, 2, 9)
    stream.once('remote-changed', () => react(stream, third))
    stream.changeRemote(second, 2, 9)
    stream.destroy()
    await Promise.all([first.close(), second.close(), third.close()])
    expect(stream.socket).toBe(null)
  })

  test('does not take a host that is no text for the own machine', () => {
    const udx = new UDX()
    const stream = udx.createStream(1)
    const connect = (): void => stream.connect(bound(udx), 2, 9, 5 as unknown as string)
    expect(connect).toThrow('5 is not a valid IP address')
    expect(stream.connected).toBe(false)
    stream.destroy()
  })
})

describe('a socket', () => {
  test('refuses buffer sizes that are none, and tells the send buffer that it took', () => {
    const socket = bound(new UDX())
    const sizes = [0, -1, 100_000]
    expect(sizes.map((size) => codeOf(() => socket.setSendBufferSize(size)))).toEqual([
      'EINVAL',
      'EINVAL',
      100_000
    ])
    expect(sizes.map((size) => codeOf(() => socket.setRecvBufferSize(size)))).toEqual([
      'EINVAL',
      'EINVAL',
      undefined
    ])
  })

  test('refuses to join a group on an interface that is no address', () => {
    const socket = bound(new UDX())
    expect(codeOf(() => socket.addMembership('239.1.2.3', 'eth0'))).toBe('EINVAL')
    expect(codeOf(() => socket.dropMembership('239.1.2.3', 'eth0'))).toBe('EINVAL')
  })
})

describe('lookup', () => {
  test.each([
    ['127.0.0.1', 6, 'EAI_ADDRFAMILY'],
    ['::1', 4, 'EAI_ADDRFAMILY'],
    ['', 0, 'EINVAL'],
    ['no host', 0, 'EAI_NONAME']
  ] as const)('of "%s" in family %d fails with %s', async (host, family, code) => {
    await expect(new UDX().lookup(host, { family })).rejects.toMatchObject({ code })
  })

  test('of an address gives that address', async () => {
    expect(await new UDX().lookup('::1')).toEqual({ host: '::1', family: 6 })
  })
})
