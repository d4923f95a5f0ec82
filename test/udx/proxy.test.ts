// The proxy does what it is told and nothing else, or the tests that trust it would prove little.
import { expect, test } from 'bun:test'
import { decodePacket, encodePacket } from './packet.ts'
import { type Passing, type ProxyOptions, UdpProxy } from './proxy.ts'

interface Target extends Disposable {
  port: number
  received: { bytes: number[]; from: number }[]
  arrived(count: number): Promise<void>
}

async function openTarget(reply = false): Promise<Target> {
  const received: Target['received'] = []
  const waiting = new Set<() => void>()
  const socket = await Bun.udpSocket({
    hostname: '127.0.0.1',
    socket: {
      data(own, bytes, port, host) {
        received.push({ bytes: [...bytes], from: port })
        if (reply) own.send(bytes, port, host)
        for (const check of waiting) check()
      }
    }
  })
  const arrived = (count: number): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const check = (): void => (received.length >= count ? resolve() : undefined)
    waiting.add(check)
    check()
    return promise
  }
  return { port: socket.port, received, arrived, [Symbol.dispose]: () => socket.close() }
}

/** What arrives of so many numbered packets through a fresh proxy. */
async function through(
  options: Omit<ProxyOptions, 'target'>,
  packets: number
): Promise<number[][]> {
  using target = await openTarget()
  const all = Promise.withResolvers<void>()
  const onpacket = ({ index }: Passing): void => {
    // The last packet's own fate follows this call.
    if (index === packets - 1) queueMicrotask(all.resolve)
  }
  await using proxy = await UdpProxy.open({ ...options, onpacket, target: { port: target.port } })
  const client = await Bun.udpSocket({ hostname: '127.0.0.1' })
  for (let i = 0; i < packets; i++) client.send(new Uint8Array([i, 0, 0]), proxy.port, '127.0.0.1')
  await all.promise
  const { received, dropped, duplicated } = proxy.tally('up')
  await target.arrived(received - dropped + duplicated)
  client.close()
  return target.received.map(({ bytes }) => bytes)
}

test('an empty impairment passes every packet in order', async () => {
  const got = await through({ seed: 1 }, 100)
  expect(got.map(([first]) => first)).toEqual(Array.from({ length: 100 }, (_, i) => i))
})

test('the same seed drops the same packets and another seed others', async () => {
  const run = (seed: number): Promise<number[][]> => through({ seed, up: { drop: 0.3 } }, 100)
  const [first, again, other] = [await run(5), await run(5), await run(6)]
  expect(again).toEqual(first)
  expect(other).not.toEqual(first)
  expect(first.length).toBeGreaterThan(40)
  expect(first.length).toBeLessThan(95)
})

test('duplicates, flipped bits and overtaking happen as often as asked', async () => {
  const twice = await through({ seed: 2, up: { duplicate: 1 } }, 50)
  const flipped = await through({ seed: 2, up: { corrupt: 1, corruptWithin: [1, 2] } }, 50)
  const shuffled = await through({ seed: 2, up: { reorder: 0.5 } }, 50)
  const order = shuffled.map(([first]) => first ?? -1)
  expect(twice.length).toBe(100)
  expect(flipped.every(([, second, third]) => second !== 0 && third === 0)).toBe(true)
  expect(order).not.toEqual(order.toSorted((a, b) => a - b))
  expect(order.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i))
})

test('a rule hits the packet it names as often as it says', async () => {
  const rule = { match: ({ bytes }: { bytes: Buffer }) => bytes[0] === 7, action: 'drop' as const }
  const got = await through({ seed: 1, rules: [{ ...rule, times: 1 }] }, 20)
  expect(got.map(([first]) => first)).toEqual(
    Array.from({ length: 20 }, (_, i) => i).filter((i) => i !== 7)
  )
})

test('every client has an upstream port of its own and gets its own answers', async () => {
  using target = await openTarget(true)
  await using proxy = await UdpProxy.open({ seed: 1, target: { port: target.port } })
  const answers = await Promise.all(
    [1, 2, 3].map(async (value) => {
      const { promise, resolve } = Promise.withResolvers<number>()
      const client = await Bun.udpSocket({
        hostname: '127.0.0.1',
        socket: { data: (_, bytes) => resolve(bytes[0] ?? -1) }
      })
      const known = await proxy.admit({ port: client.port })
      client.send(new Uint8Array([value]), proxy.port, '127.0.0.1')
      const answer = await promise
      client.close()
      return { value, answer, known }
    })
  )
  expect(answers.map(({ answer }) => answer)).toEqual([1, 2, 3])
  const seen = target.received.map(({ bytes, from }) => [bytes[0], from])
  expect(seen.toSorted()).toEqual(answers.map(({ value, known }) => [value, known]).toSorted())
  expect(new Set(proxy.upstreamPorts).size).toBe(3)
})

test('a blackhole swallows until it is restored', async () => {
  using target = await openTarget()
  await using proxy = await UdpProxy.open({ seed: 1, target: { port: target.port } })
  const client = await Bun.udpSocket({ hostname: '127.0.0.1' })
  const seen = Promise.withResolvers<void>()
  proxy.blackhole()
  proxy.addRule({ match: () => (seen.resolve(), false), action: 'drop' })
  client.send('lost', proxy.port, '127.0.0.1')
  await seen.promise
  proxy.restore()
  client.send('found', proxy.port, '127.0.0.1')
  await target.arrived(1)
  client.close()
  expect(target.received.map(({ bytes }) => String.fromCharCode(...bytes))).toEqual(['found'])
})

test('a packet survives its encoding and other datagrams are none', () => {
  const packet = { flags: 5, offset: 8, streamId: 2 ** 32 - 1, window: 7, seq: 2 ** 31, ack: 9 }
  const body = new Uint8Array([1, 2, 3])
  expect(decodePacket(encodePacket({ ...packet, body }))).toEqual({ ...packet, body })
  expect(decodePacket(new Uint8Array(19))).toBeUndefined()
  expect(decodePacket(new Uint8Array(20))).toBeUndefined()
})
