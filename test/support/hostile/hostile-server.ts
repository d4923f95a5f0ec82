// Servers that say whatever may do harm, in every state of a client's session, beside honest ones;
// all drawn from a seed. For test/client/hostile.test.ts and, with more seeds,
// scripts/prove/fuzz-client.ts. They compute rightly, or wrongly in ways that show: nobody notices
// likely but wrong values yet.
import { seededRandom, type Random } from '../../../src/base/random.ts'
import type { ErrorCode } from '../../../src/base/errors.ts'
import { PeerBook } from '../../../src/client/route/peers.ts'
import { LIMITS } from '../../../src/wire/protocol.ts'
import type { ServerStatus, StepResult, WireError, WireTensor } from '../../../src/wire/types.ts'
import { throughFakeBlocks } from '../fakes/fake-compute.ts'
import { FakeSwarm, startSession, type FakePeer, type Said } from '../fakes/fake-swarm.ts'

const BLOCKS = 6
const HIDDEN = 4
const PROMPT = 6
const ROWS = 24
const CODES: readonly (ErrorCode | 'UNKNOWN')[] = [
  'BAD_INPUT',
  'NOT_FOUND',
  'CORRUPT',
  'UNSUPPORTED',
  'UNAVAILABLE',
  'IN_USE',
  'NO_ROUTE',
  'NO_MEMORY',
  'BUSY',
  'TIMEOUT',
  'CANCELLED',
  'CLOSED',
  'DISCONNECTED',
  'PROTOCOL',
  'LIMIT',
  'DENIED',
  'COMPUTE',
  'INTERNAL',
  'UNKNOWN'
]
const STATUS: ServerStatus = {
  queue: Number.MAX_SAFE_INTEGER,
  freeTokens: Number.MAX_SAFE_INTEGER,
  computeMs: 3e38,
  queueMs: 3e38
}

export interface FuzzOutcome {
  /** Whether every row was that of an undisturbed pass. */
  readonly same: boolean
  /** Honest servers that were avoided for a while. */
  readonly blamed: readonly string[]
  readonly reroutes: number
  readonly mischiefs: number
}

/** One session through hostile servers, which everybody would choose first, and honest ones. */
export async function fuzzClient(seed: number): Promise<FuzzOutcome> {
  const random = seededRandom(seed)
  const swarm = new FakeSwarm(BLOCKS, HIDDEN)
  const cuts = [0, 2, 4, BLOCKS]
  const honest = new Set<string>()
  let mischiefs = 0
  for (let i = 0; i < 3; i++) {
    const [first = 0, last = 0] = cuts.slice(i, i + 2)
    honest.add((await swarm.add(first, last)).peer)
    for (let more = random.below(3); more > 0; more--) {
      const peer = await swarm.add(first, last)
      peer.info = { ...peer.info, throughput: 3.4e38, freeTokens: LIMITS.tokens }
      corrupt(peer, random, () => mischiefs++)
    }
  }
  const book = new PeerBook()
  const blamed: string[] = []
  const avoid = book.avoid.bind(book)
  book.avoid = (peer, until) => {
    if (honest.has(peer)) blamed.push(peer)
    avoid(peer, until)
  }
  // None of them leaves a ping unanswered; a busy machine may for some time.
  swarm.liveness = { everyMs: 5, leastMs: 2_000 }
  await using session = await startSession(swarm, { silenceMs: 200, book, optimizer: false })
  const input = Float32Array.from({ length: ROWS * HIDDEN }, () => random.next() - 0.5)
  const out = new Float32Array(input.length)
  out.set((await session.forward(0, input.slice(0, PROMPT * HIDDEN))).output)
  for (let row = PROMPT; row < ROWS; row++) {
    const { output } = await session.forward(row, input.slice(row * HIDDEN, (row + 1) * HIDDEN))
    out.set(output, row * HIDDEN)
  }
  const same = Bun.deepEquals(out, reference(input))
  return { same, blamed, reroutes: session.reroutes, mischiefs }
}

/** All blocks over all rows, in one plain loop. */
function reference(input: Float32Array): Float32Array {
  return throughFakeBlocks(input, BLOCKS, HIDDEN)
}

function corrupt(peer: FakePeer, random: Random, onmischief: () => void): void {
  // Some begin to lie late, when they hold a history.
  let good = random.below(3) === 0 ? random.below(30) : 0
  const share = 0.1 + 0.6 * random.next()
  peer.tamper = (said, send) => {
    if (good-- > 0 || random.next() > share) return send(said)
    onmischief()
    for (const lie of lies(said, random)) send(lie)
  }
  peer.onpush = (step, push) => {
    if (good > 0 || random.next() > share) return push(step)
    onmischief()
    switch (random.below(3)) {
      case 0:
        // Says nothing of it.
        return
      case 1:
        return push({ ...step, start: step.start + 1 + random.below(100) })
      default:
        push(step)
        push({ ...step, tensor: { ...step.tensor, columns: step.tensor.columns + 1 } })
    }
  }
}

/** What is said instead. */
function lies(said: Said, random: Random): Said[] {
  const { session } = said.message
  const step = said.kind === 'opened' ? -1 : said.message.step
  switch (random.below(8)) {
    case 0:
      return []
    case 1:
      return [said, said, said]
    case 2:
      return [error(session, step, random)]
    case 3:
      // After what it was asked for: as if of the one it pushed to.
      return [said, error(session, step, random)]
    case 4:
      return [error(session, step + random.below(5) - 2, random), said]
    case 5:
      return [{ kind: 'opened', message: { session, status: STATUS } }, said]
    case 6:
      return [error(session, -1, random), said]
    default:
      return said.kind === 'result' ? [{ kind: 'result', message: bend(said.message, random) }] : []
  }
}

function error(session: Uint8Array, step: number, random: Random): Said {
  const message: WireError = {
    session,
    step: Math.max(-1, step),
    code: CODES[random.below(CODES.length)] ?? 'UNKNOWN',
    message: '\u001b]0;owned\u0007',
    retryable: random.below(2) === 0,
    retryAfterMs: random.below(2) === 0 ? LIMITS.waitMs : 0,
    status: STATUS
  }
  return { kind: 'error', message }
}

/** A result that no honest server gives. */
function bend(result: StepResult, random: Random): StepResult {
  const { tensor } = result
  const values = (value: number): StepResult => ({ ...result, tensor: filled(tensor, value) })
  switch (random.below(11)) {
    case 0:
      return values(Number.NaN)
    case 1:
      return values(-Infinity)
    case 2:
      return values(3e38)
    case 3:
      return { ...result, step: result.step + 1 }
    case 4:
      return { ...result, start: result.start + 1 }
    case 5:
      return { ...result, count: result.count + 1 }
    case 6:
      return { ...result, end: result.end + 1 }
    case 7:
      return { ...result, tensor: shaped(tensor.rows + 1, tensor.columns) }
    case 8:
      return { ...result, tensor: shaped(LIMITS.rows, HIDDEN) }
    case 9:
      return { ...result, tensor: shaped(tensor.rows, tensor.columns * 2) }
    default:
      return { ...result, tensor: { ...tensor, dtype: 'f16', columns: tensor.columns * 2 } }
  }
}

function filled(tensor: WireTensor, value: number): WireTensor {
  const values = new Float32Array(tensor.rows * tensor.columns).fill(value)
  return { ...tensor, data: new Uint8Array(values.buffer) }
}

function shaped(rows: number, columns: number): WireTensor {
  return { dtype: 'f32', rows, columns, data: new Uint8Array(rows * columns * 4) }
}
