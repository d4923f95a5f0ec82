// How streams begin and end between the replacement and real udx-native: firewall, messages,
// keepalive, end, destroy, silence.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { cleanOutcome, count, exchange, freshId, openLink, outcome } from './link.ts'
import { DATA, END, HEARTBEAT, SACK, STATE } from './packet.ts'
import { type Peer, type Runtime, startPeer } from './peer.ts'
import type { Passing, Rule } from './proxy.ts'

setDefaultTimeout(60_000)
const peers = {} as Record<Runtime, Peer>

beforeAll(async () => {
  ;[peers.bun, peers.node] = await Promise.all([startPeer('bun'), startPeer('node')])
})
afterAll(() => Promise.all([peers.bun.close(), peers.node.close()]))

const pairs: [Runtime, Runtime][] = [
  ['bun', 'node'],
  ['node', 'bun'],
  ['bun', 'bun']
]

describe.each(pairs)('%s with %s', (a, b) => {
  const open = (options = {}): ReturnType<typeof openLink> => openLink(peers[a], peers[b], options)

  test('ending both sides without data closes both without error', async () => {
    await using link = await open()
    const none = { a: 0, b: 0 }
    const result = await exchange(link, none)
    expect(outcome(result)).toEqual(cleanOutcome(result, none))
  })

  test('the side that ends first keeps reading until the other ends', async () => {
    await using link = await open()
    const first = await link.a.write({ bytes: 1000, seed: 1, end: true })
    await link.b.wait({ event: 'end' })
    const second = await link.b.write({ bytes: 100_000, seed: 2 })
    const half = await link.a.wait({ bytes: 100_000 })
    await link.b.end()
    const [endA, endB] = await Promise.all([link.a.closed(), link.b.closed()])
    expect([half.sha256, count(half.events, 'end')]).toEqual([second.sha256, 0])
    expect([endA.sha256, endB.sha256]).toEqual([second.sha256, first.sha256])
    expect([endA.error, endB.error]).toEqual([null, null])
  })

  test('destroy resets the other side and not the own', async () => {
    await using link = await open()
    await link.a.write({ bytes: 1000, seed: 1 })
    await link.b.wait({ bytes: 1000 })
    await link.a.destroy()
    const [endA, endB] = await Promise.all([link.a.closed(), link.b.closed()])
    expect([endA.error, endB.error?.code]).toEqual([null, 'ECONNRESET'])
  })

  test('a destroyed id can be used again at once', async () => {
    const first = await open()
    await first[Symbol.asyncDispose]()
    await Promise.all([first.a.closed(), first.b.closed()])
    await Promise.all([first.a.open(), first.b.open()])
    await Promise.all([first.a.connect(), first.b.connect()])
    const bytes = { a: 5000, b: 5000 }
    const result = await exchange(first, bytes, { seed: 5 })
    expect(outcome(result)).toEqual(cleanOutcome(result, bytes))
  })

  test('an accepting firewall delivers before connect and acknowledges at connect', async () => {
    await using link = await open({ connect: false, b: { firewall: 'accept' } })
    await link.a.connect()
    const sent = await link.a.write({ bytes: 1000, seed: 4, end: true })
    const before = await link.b.wait({ bytes: 1000 })
    const unacked = await link.a.report()
    await link.b.connect()
    const after = await link.b.wait({ event: 'end' })
    await link.b.end()
    const [endA, endB] = await Promise.all([link.a.closed(), link.b.closed()])
    expect(before.asked[0]).toEqual({
      port: link.a.at.port,
      host: '127.0.0.1',
      family: 4,
      socket: link.b.at.socket
    })
    expect([count(before.events, 'end'), count(unacked.events, 'close')]).toEqual([0, 0])
    expect([before.sha256, after.sha256]).toEqual([sent.sha256, sent.sha256])
    expect([endA.error, endB.error]).toEqual([null, null])
  })

  test('a rejecting firewall is asked for every packet and lets nothing in', async () => {
    await using link = await open({ connect: false, b: { firewall: 'reject' } })
    await link.a.connect()
    await link.a.write({ bytes: 10, seed: 4 })
    const { asked, bytes, events } = await link.b.wait({ asked: 2 })
    expect([asked.length >= 2, bytes, events]).toEqual([true, 0, []])
  })

  test('a stream connected inside its firewall answers the packet that asked', async () => {
    await using link = await open({ connect: false, b: { firewall: 'connect' } })
    await link.a.connect()
    const sent = await link.a.write({ bytes: 100_000, seed: 6, end: true })
    const { sha256, asked } = await link.b.wait({ event: 'end' })
    await link.b.end()
    const [endA, endB] = await Promise.all([link.a.closed(), link.b.closed()])
    expect([sha256, asked.length]).toEqual([sent.sha256, 1])
    expect([endA.error, endB.error]).toEqual([null, null])
  })

  test('messages of 0, 1 and 1400 bytes arrive beside the stream', async () => {
    await using link = await open()
    const sent: string[] = []
    for (let i = 0; i < 20; i++) {
      for (const size of [0, 1, 1400]) sent.push(await link.a.message(size, 1 + i))
      await link.a.write({ bytes: 3000, seed: i })
    }
    await link.b.wait({ bytes: 60_000 })
    const { messages, bytes } = await link.b.wait({ event: 'message', count: 60 })
    expect(messages.map(({ sha256 }) => sha256).sort()).toEqual(sent.sort())
    expect(bytes).toBe(60_000)
  })

  test('keepalive sends heartbeats that are answered and give no data', async () => {
    const seen = { beats: 0, answers: 0 }
    const done = Promise.withResolvers<void>()
    const onpacket = ({ udx, direction }: Passing): void => {
      if (direction === 'up' && udx?.flags === HEARTBEAT) seen.beats++
      if (direction === 'down' && udx?.flags === STATE) seen.answers++
      if (seen.beats >= 3 && seen.answers >= 3) done.resolve()
    }
    await using link = await open({ proxy: { seed: 1, onpacket } })
    await link.a.peer.call('keepalive', { id: link.a.id, ms: 100 })
    await link.a.write({ bytes: 1, seed: 1 })
    await done.promise
    expect((await link.b.report()).bytes).toBe(1)
    await link.a.peer.call('destroy', { id: link.a.id })
  })

  test('a datagram for an unknown stream id surfaces as a socket message', async () => {
    await using link = await open()
    await using stray = await open({ connect: false })
    const lost = {
      id: stray.a.id,
      remoteId: freshId(),
      socket: stray.a.at.socket,
      port: link.b.at.port
    }
    await stray.a.peer.call('connect', lost)
    await stray.a.write({ bytes: 10, seed: 1 })
    // The retransmission is the second message; nothing else is sent to this socket.
    const flow = await link.a.write({ bytes: 1000, seed: 3, end: true })
    await link.b.wait({ event: 'end' })
    const { messages } = await peers[b].call<{ messages: number }>('socketReport', {
      socket: link.b.at.socket
    })
    expect([messages, (await link.b.report()).sha256]).toEqual([1, flow.sha256])
  })
})

test.each(['node', 'bun'] as Runtime[])(
  'a lost last acknowledgement is given again to %s',
  async (b) => {
    const state = { lastAck: -1, swallowed: 0, repeated: false }
    const swallow: Rule = {
      action: 'drop',
      match({ direction, udx }) {
        if (!udx || state.repeated) return false
        if (direction === 'down') {
          if (udx.flags & END) state.lastAck = udx.seq + 1
          // The side that heard nothing sends again: from now on it must be heard.
          if (udx.flags & (DATA | END) && state.swallowed > 0) state.repeated = true
          return false
        }
        const last = (udx.flags & ~SACK) === STATE && udx.ack === state.lastAck
        if (last) state.swallowed++
        return last
      }
    }
    await using link = await openLink(peers.bun, peers[b], { proxy: { seed: 1, rules: [swallow] } })
    await link.a.write({ bytes: 5000, seed: 1, end: true })
    await link.b.wait({ event: 'end' })
    await link.b.write({ bytes: 5000, seed: 2, end: true })
    const [endA, endB] = await Promise.all([link.a.closed(), link.b.closed()])
    expect([endA.error, endB.error]).toEqual([null, null])
    expect([state.swallowed > 0, state.repeated]).toEqual([true, true])
  }
)

test('a silent path times out both implementations 13 seconds after the first unanswered packet', async () => {
  await using link = await openLink(peers.bun, peers.node, { proxy: { seed: 1 } })
  await Promise.all([
    link.a.write({ bytes: 100_000, seed: 1 }),
    link.b.write({ bytes: 100_000, seed: 2 })
  ])
  await Promise.all([link.a.wait({ bytes: 100_000 }), link.b.wait({ bytes: 100_000 })])
  link.proxy?.blackhole()
  await Promise.all([link.a.write({ bytes: 4, seed: 3 }), link.b.write({ bytes: 4, seed: 4 })])
  const ends = await Promise.all([link.a.closed(25_000), link.b.closed(25_000)])
  const seconds = ends.map(({ closedAfterMs }) => (closedAfterMs ?? 0) / 1000)
  expect(ends.map(({ error }) => error?.code)).toEqual(['ETIMEDOUT', 'ETIMEDOUT'])
  // 13 retransmission timeouts of 1 s; later on a busy machine, never much sooner.
  expect(seconds.map((value) => value > 11.5 && value < 18)).toEqual([true, true])
})

test('a cut shorter than the timeout loses nothing', async () => {
  const passed = Promise.withResolvers<void>()
  const silent = Promise.withResolvers<void>()
  const state = { cut: false, packets: 0, unheard: 0 }
  const onpacket = ({ udx }: Passing): void => {
    if (state.cut && udx && udx.flags & DATA && ++state.unheard === 3) silent.resolve()
    if (++state.packets === 200) passed.resolve()
  }
  await using link = await openLink(peers.bun, peers.node, { proxy: { seed: 1, onpacket } })
  const bytes = { a: 1 << 20, b: 1 << 20 }
  const result = exchange(link, bytes)
  await passed.promise
  state.cut = true
  link.proxy?.blackhole()
  await silent.promise
  link.proxy?.restore()
  expect(outcome(await result)).toEqual(cleanOutcome(await result, bytes))
})
