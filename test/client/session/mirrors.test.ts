// Mirrors that come behind the answer: nobody waits for them, and what they bring is kept.
import { expect, test } from 'bun:test'
import { randomRows, throughFakeBlocks } from '../../support/fakes/fake-compute.ts'
import {
  FakeSwarm,
  startSession,
  type FakePeer,
  type Said
} from '../../support/fakes/fake-swarm.ts'

const BLOCKS = 4
const HIDDEN = 4

function inputRows(count: number, seed = 1): Float32Array {
  return randomRows(count, HIDDEN, seed)
}

function reference(input: Float32Array): Float32Array {
  return throughFakeBlocks(input, BLOCKS, HIDDEN)
}

/** Holds back what a server says to the client until it is let go. */
function hold(peer: FakePeer): { release(): void } {
  const held: (() => void)[] = []
  peer.tamper = (said: Said, send) => void held.push(() => send(said))
  return {
    release() {
      peer.tamper = undefined
      for (const go of held.splice(0)) go()
    }
  }
}

async function twoServers(): Promise<{ swarm: FakeSwarm; first: FakePeer; last: FakePeer }> {
  const swarm = new FakeSwarm(BLOCKS, HIDDEN)
  const [first, last] = [await swarm.add(0, 2), await swarm.add(2, 4)]
  return { swarm, first, last }
}

/** What was let go before this is there after it. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('forward() has its answer before the mirrors of earlier servers have come', async () => {
  const { swarm, first } = await twoServers()
  await using session = await startSession(swarm)
  const input = inputRows(12)
  await session.forward(0, input.slice(0, HIDDEN))
  const held = hold(first)
  const { output: answer } = await session.forward(1, input.slice(HIDDEN))
  expect(answer).toEqual(reference(input).slice(HIDDEN))
  held.release()
})

for (const [name, release] of [
  ['came late', true],
  ['never came', false]
] as const) {
  test(`a span whose mirrors ${name} is replayed when its server is killed`, async () => {
    const { swarm, first, last } = await twoServers()
    await using session = await startSession(swarm)
    const input = inputRows(12)
    await session.forward(0, input.slice(0, HIDDEN))
    const held = hold(first)
    await session.forward(1, input.slice(HIDDEN, 9 * HIDDEN))
    // Two rows are taken back while their mirrors are still on the way.
    const other = inputRows(2, 9)
    const after = session.forward(7, other)
    if (release) held.release()
    await after
    await settle()
    const before = first.compute.steps.length
    await swarm.add(2, 4)
    swarm.kill(last)
    const { output: answer } = await session.forward(9, input.slice(9 * HIDDEN))
    input.set(other, 7 * HIDDEN)
    expect(answer).toEqual(reference(input).slice(9 * HIDDEN))
    // Only what the client lacks is computed by the first server again.
    expect(first.compute.steps.length - before).toBe(release ? 1 : 2)
    if (!release) held.release()
  })
}
