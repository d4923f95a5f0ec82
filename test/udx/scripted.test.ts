// Packets made by hand against one stream: what goes on the wire, and what a stream does with
// packets that no good peer sends. The same expectations hold the real udx-native, where it is as
// strict.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { type FakeEnd, inOrderReceiver, openFakeEnd } from './fake-end.ts'
import { count, End, freshId, openSocket } from './link.ts'
import { DATA, DESTROY, END, HEARTBEAT, MESSAGE, SACK, sackBody, STATE } from './packet.ts'
import type { Packet } from './packet.ts'
import { type Peer, type Runtime, startPeer } from './peer.ts'

setDefaultTimeout(60_000)
const peers = {} as Record<Runtime, Peer>

beforeAll(async () => {
  ;[peers.bun, peers.node] = await Promise.all([startPeer('bun'), startPeer('node')])
})
afterAll(() => Promise.all([peers.bun.close(), peers.node.close()]))

const FAKE_ID = 0xfedcba98
const text = (value: string): Uint8Array => new TextEncoder().encode(value)

interface Scripted extends Disposable {
  fake: FakeEnd
  end: End
  /** Sends to the stream under test. */
  send(packet: Partial<Packet>): void
}

async function openScripted(
  runtime: Runtime,
  onpacket?: (packet: Packet, scripted: Scripted) => void
): Promise<Scripted> {
  const fake = await openFakeEnd((packet) => onpacket?.(packet, scripted))
  const at = await openSocket(peers[runtime])
  const end = new End(peers[runtime], at, { own: freshId(), remote: FAKE_ID }, fake.port)
  const scripted: Scripted = {
    fake,
    end,
    send: (packet) => fake.send({ streamId: end.id, ...packet }, at.port),
    [Symbol.dispose]: () => fake.close()
  }
  await end.open()
  await end.connect()
  return scripted
}

describe.each(['bun', 'node'] as Runtime[])('%s', (runtime) => {
  test('a short write and its end share one packet with these bytes', async () => {
    using scripted = await openScripted(runtime)
    await scripted.end.write({ bytes: 5, seed: 1, end: true })
    const { body, ...header } = await scripted.fake.next(() => true)
    expect(header).toEqual({
      flags: DATA | END,
      offset: 0,
      streamId: FAKE_ID,
      window: 4194304,
      seq: 0,
      ack: 0
    })
    expect(body.length).toBe(5)
    await scripted.end.destroy()
    const destroy = await scripted.fake.next(({ flags }) => flags === DESTROY)
    expect([destroy.seq, destroy.body.length]).toEqual([1, 0])
  })

  test('a retransmission carries the same bytes and a fresh acknowledgement', async () => {
    using scripted = await openScripted(runtime)
    await scripted.end.write({ bytes: 700, seed: 2 })
    const first = await scripted.fake.next(({ flags }) => flags === DATA)
    scripted.send({ flags: DATA, seq: 0, ack: 0, body: text('x') })
    await scripted.fake.next(({ flags, ack }) => flags === STATE && ack === 1)
    const seen = scripted.fake.packets.length
    const again = await scripted.fake.next(({ flags }) => flags === DATA, seen)
    expect({ ...again, ack: 0 }).toEqual(first)
    expect(again.ack).toBe(1)
  })

  test('a gap is named in a SACK and what was named is delivered in order', async () => {
    using scripted = await openScripted(runtime)
    scripted.send({ flags: DATA, seq: 2, body: text('cc') })
    const sack = await scripted.fake.next(({ flags }) => flags === SACK)
    expect([sack.ack, sack.offset, sack.body]).toEqual([0, 0, Buffer.from(sackBody([[2, 3]]))])
    scripted.send({ flags: DATA, seq: 4, body: text('ee') })
    const two = await scripted.fake.next(({ body }) => body.length === 16)
    expect(two.body).toEqual(
      Buffer.from(
        sackBody([
          [2, 3],
          [4, 5]
        ])
      )
    )
    scripted.send({ flags: DATA, seq: 0, body: text('aa') })
    scripted.send({ flags: DATA, seq: 1, body: text('bb') })
    scripted.send({ flags: DATA | END, seq: 3, offset: 3, body: text('000dd') })
    await scripted.fake.next(({ ack, flags }) => ack === 5 && flags === STATE)
    const { bytes, sha256 } = await scripted.end.report()
    const whole = new Bun.CryptoHasher('sha256').update('aabbccddee').digest('hex')
    expect([bytes, sha256]).toEqual([10, whole])
  })

  test('a duplicate is acknowledged again and not delivered again', async () => {
    using scripted = await openScripted(runtime)
    for (let i = 0; i < 2; i++) {
      const seen = scripted.fake.packets.length
      scripted.send({ flags: DATA, seq: 0, body: text('once') })
      await scripted.fake.next(({ ack, flags }) => ack === 1 && flags === STATE, seen)
    }
    expect((await scripted.end.report()).bytes).toBe(4)
  })

  test('a heartbeat is answered at once, also as the first packet', async () => {
    using scripted = await openScripted(runtime)
    scripted.send({ flags: HEARTBEAT, seq: 7, ack: 9, window: 0 })
    const { flags, ack } = await scripted.fake.next(() => true)
    expect([flags, ack]).toEqual([STATE, 0])
  })

  test('a closed window stops the data, heartbeats ask for it and an update resumes', async () => {
    const receiver = inOrderReceiver()
    const state = { window: 0, beats: 0, whileClosed: 0 }
    const asked = Promise.withResolvers<void>()
    const complete = Promise.withResolvers<void>()
    const onpacket = (packet: Packet, { send }: Scripted): void => {
      const taken = receiver.take(packet)
      if (packet.flags === HEARTBEAT && ++state.beats === 2) asked.resolve()
      else if (state.beats > 0 && state.window === 0 && taken) state.whileClosed++
      if (taken && packet.flags & END) complete.resolve()
      if (packet.flags) send({ window: state.window, ack: receiver.ack })
    }
    using scripted = await openScripted(runtime, onpacket)
    const sent = scripted.end.write({ bytes: 300_000, seed: 3, end: true })
    await asked.promise
    expect([receiver.bytes.length < 300_000, state.whileClosed]).toEqual([true, 0])
    state.window = 4194304
    scripted.send({ window: state.window, ack: receiver.ack })
    await complete.promise
    expect(new Bun.CryptoHasher('sha256').update(receiver.bytes).digest('hex')).toBe(
      (await sent).sha256
    )
  })

  test('a reset with a number already used is ignored, a new one closes', async () => {
    using scripted = await openScripted(runtime)
    scripted.send({ flags: DATA, seq: 0, body: text('a') })
    scripted.send({ flags: DESTROY, seq: 0 })
    scripted.send({ flags: DATA, seq: 1, body: text('b') })
    await scripted.fake.next(({ ack }) => ack === 2)
    scripted.send({ flags: DESTROY, seq: 5 })
    const { error, bytes } = await scripted.end.closed()
    expect([error?.code, bytes]).toEqual(['ECONNRESET', 2])
  })

  test('acknowledgements of what was never sent change nothing', async () => {
    using scripted = await openScripted(runtime)
    await scripted.end.write({ bytes: 100, seed: 4 })
    await scripted.fake.next(({ flags }) => flags === DATA)
    scripted.send({ ack: 1000 })
    scripted.send({ flags: SACK, body: sackBody([[1, 5]]) })
    scripted.send({ flags: SACK, body: sackBody([[5, 1]]) })
    scripted.send({ flags: SACK, body: sackBody([[0, 2 ** 31]]) })
    scripted.send({ flags: MESSAGE, body: text('mark') })
    await scripted.end.wait({ event: 'message' })
    const seen = scripted.fake.packets.length
    // Still unacknowledged, so it comes again.
    await scripted.fake.next(({ flags, seq }) => flags === DATA && seq === 0, seen)
    scripted.send({ ack: 1 })
    expect(await scripted.end.peer.call('flush', { id: scripted.end.id })).toBe(true)
  })

  test('a payload shorter than its offset is dropped without an answer', async () => {
    using scripted = await openScripted(runtime)
    scripted.send({ flags: DATA, seq: 0, offset: 9, body: text('short') })
    scripted.send({ flags: DATA, seq: 0, body: text('right') })
    const { ack } = await scripted.fake.next(() => true)
    const { bytes, events } = await scripted.end.report()
    expect([ack, bytes, count(events, 'error'), scripted.fake.packets.length]).toEqual([1, 5, 0, 1])
  })
})

test('data far beyond the window is neither kept nor acknowledged', async () => {
  using scripted = await openScripted('bun')
  for (const seq of [100_000, 2 ** 30, 2 ** 31 - 1]) {
    scripted.send({ flags: DATA, seq, body: text('far') })
    scripted.send({ flags: END, seq })
  }
  scripted.send({ flags: DATA, seq: 0, body: text('near') })
  const answer = await scripted.fake.next(({ ack }) => ack === 1)
  expect([answer.flags, count((await scripted.end.report()).events, 'end')]).toEqual([STATE, 0])
  scripted.send({ flags: DATA | END, seq: 1, body: text('last') })
  expect((await scripted.end.wait({ event: 'end' })).bytes).toBe(8)
})
