// Streams through a relay that sees only ids, and streams that change their remote while they carry
// data.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { cleanOutcome, count, End, exchange, freshId, openSocket, outcome } from './link.ts'
import { type Peer, type Runtime, startPeer } from './peer.ts'

setDefaultTimeout(60_000)
const MIB = 1024 * 1024
const peers = {} as Record<Runtime, Peer>

beforeAll(async () => {
  ;[peers.bun, peers.node] = await Promise.all([startPeer('bun'), startPeer('node')])
})
afterAll(() => Promise.all([peers.bun.close(), peers.node.close()]))

interface Relayed {
  a: End
  b: End
  /** The relay's ends: `legA` faces a, `legB` faces b. */
  legA: End
  legB: End
  [Symbol.asyncDispose](): Promise<void>
}

/** Two ends that reach each other over the relay; its legs connect at once or when first asked. */
async function openRelayed(
  [a, relay, b]: [Peer, Peer, Peer],
  legs: 'connected' | 'asked' = 'connected'
): Promise<Relayed> {
  const [atA, atLegA, atLegB, atB] = await Promise.all([a, relay, relay, b].map(openSocket))
  if (!atA || !atLegA || !atLegB || !atB) throw new Error('No sockets')
  const ids = { a: freshId(), legA: freshId(), legB: freshId(), b: freshId() }
  const relayed = {
    a: new End(a, atA, { own: ids.a, remote: ids.legA }, atLegA.port),
    legA: new End(relay, atLegA, { own: ids.legA, remote: ids.a }, atA.port),
    legB: new End(relay, atLegB, { own: ids.legB, remote: ids.b }, atB.port),
    b: new End(b, atB, { own: ids.b, remote: ids.legB }, atLegB.port),
    async [Symbol.asyncDispose](): Promise<void> {
      const { a: endA, legA, legB, b: endB } = relayed
      await Promise.all([endA, endB, legA, legB].map((end) => end.destroy()))
    }
  }
  const firewall = legs === 'asked' ? 'connect' : 'default'
  await Promise.all([relayed.a, relayed.b].map((end) => end.open()))
  await Promise.all([relayed.legA, relayed.legB].map((end) => end.open({ firewall })))
  if (legs === 'connected') await Promise.all([relayed.legA.connect(), relayed.legB.connect()])
  await relay.call('relay', { from: ids.legA, to: ids.legB })
  await relay.call('relay', { from: ids.legB, to: ids.legA })
  await Promise.all([relayed.a.connect(), relayed.b.connect()])
  return relayed
}

/** Moves `end` to face `to`, right after a write of so many bytes. */
function change(end: End, to: End, bytes = 0): Promise<{ returned: string }> {
  const write = bytes > 0 ? { bytes, seed: 77 } : undefined
  const args = { id: end.id, socket: end.at.socket, remoteId: to.id, port: to.at.port, write }
  return end.peer.call('changeRemote', args)
}

const chains: [Runtime, Runtime, Runtime][] = [
  ['node', 'bun', 'node'],
  ['bun', 'node', 'bun'],
  ['node', 'bun', 'bun'],
  ['bun', 'bun', 'bun']
]

describe.each(chains)('%s over a %s relay to %s', (a, relay, b) => {
  const chain = (): [Peer, Peer, Peer] => [peers[a], peers[relay], peers[b]]

  test('every byte passes both ways and both ends close cleanly', async () => {
    await using relayed = await openRelayed(chain())
    const bytes = { a: 4 * MIB, b: 2 * MIB }
    const result = await exchange(relayed, bytes)
    expect(outcome(result)).toEqual(cleanOutcome(result, bytes))
  })

  test('legs that connect in their firewall relay as well', async () => {
    await using relayed = await openRelayed(chain(), 'asked')
    const bytes = { a: MIB, b: MIB }
    const result = await exchange(relayed, bytes)
    expect(outcome(result)).toEqual(cleanOutcome(result, bytes))
  })

  test('a destroy resets the leg it reached and the far end', async () => {
    await using relayed = await openRelayed(chain())
    await relayed.a.write({ bytes: 1000, seed: 1 })
    await relayed.b.wait({ bytes: 1000 })
    await relayed.a.destroy()
    const [far, leg] = await Promise.all([relayed.b.closed(), relayed.legA.closed()])
    expect([far.error?.code, leg.error?.code]).toEqual(['ECONNRESET', 'ECONNRESET'])
    // Real udx-native leaves the other leg without 'close' until somebody destroys it.
    if (relay === 'bun') expect((await relayed.legB.closed()).error).toBeNull()
  })

  test('both ends change to the direct path in the middle of a transfer', async () => {
    await using relayed = await openRelayed(chain())
    const bytes = { a: 24 * MIB, b: 24 * MIB }
    const changed = Promise.all([relayed.a.wait({ bytes: MIB }), relayed.b.wait({ bytes: MIB })])
      .then(() => [change(relayed.a, relayed.b, 5000), change(relayed.b, relayed.a, 5000)])
      .then((changing) => Promise.all(changing))
    const done = await exchange(relayed, bytes, { onsent: () => changed })
    expect(await changed).toEqual([{ returned: 'promise' }, { returned: 'promise' }])
    expect([done.a.bytes, done.b.bytes]).toEqual([24 * MIB + 5000, 24 * MIB + 5000])
    expect([done.a.sha256, done.b.sha256]).toEqual([done.b.sentSha256, done.a.sentSha256])
    expect([done.a.error, done.b.error]).toEqual([null, null])
    const changes = [done.a, done.b].map(({ events }) =>
      ['remote-changed', 'changed'].map((name) => count(events, name))
    )
    expect(changes).toEqual([
      [1, 1],
      [1, 1]
    ])
  })

  test('an idle stream changes its remote within the call', async () => {
    await using relayed = await openRelayed(chain())
    const args = { bytes: 5000, seed: 9 }
    const first = await relayed.a.write(args)
    await relayed.a.peer.call('flush', { id: relayed.a.id })
    expect((await relayed.b.wait({ bytes: 5000 })).sha256).toBe(first.sha256)
    expect(await change(relayed.a, relayed.b)).toEqual({ returned: 'null' })
    expect(await change(relayed.b, relayed.a)).toEqual({ returned: 'null' })
    await Promise.all([relayed.legA.destroy(), relayed.legB.destroy()])
    const bytes = { a: MIB, b: MIB }
    const result = await exchange(relayed, bytes, { seed: 20 })
    expect(result.a.sha256).toBe(result.sentByB.sha256)
    expect([result.a.error, result.b.error, result.b.bytes]).toEqual([null, null, MIB + 5000])
    expect(count(result.a.events, 'remote-changed')).toBe(1)
  })

  test('relaying twice or into a closed stream is refused', async () => {
    await using relayed = await openRelayed(chain())
    const { peer } = relayed.legA
    const again = { from: relayed.legA.id, to: relayed.legB.id }
    const spare = new End(peer, relayed.legA.at, { own: freshId(), remote: 1 }, 1)
    await spare.open()
    const refusal = (args: object): Promise<unknown> =>
      peer.call('relay', args).then(
        () => 'accepted',
        (error: { code?: string }) => error.code
      )
    expect(await refusal(again)).toBe('EINVAL')
    await relayed.legB.destroy()
    await relayed.legB.closed()
    expect(await refusal({ from: spare.id, to: relayed.legB.id })).toBe('EINVAL')
    await spare.destroy()
  })
})
