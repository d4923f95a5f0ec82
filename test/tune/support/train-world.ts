// Servers of stories260k on a network of this machine, and a client that trains a few steps over
// them.
import { systemClock } from '../../../src/base/clock.ts'
import type { AppError } from '../../../src/base/errors.ts'
import { toHex } from '../../../src/base/bytes.ts'
import { Compute } from '../../../src/blocks/compute.ts'
import type { AdapterShape } from '../../../src/blocks/train/adapter-shape.ts'
import { Client } from '../../../src/client/client.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { Host, type HostOptions } from '../../../src/server/host.ts'
import type { SwarmNode } from '../../../src/swarm/node.ts'
import type { TokenExample } from '../../../src/tune/data/tokens.ts'
import { newValues, type TuneShape } from '../../../src/tune/parameters.ts'
import { Chain } from '../../../src/tune/swarm/chain.ts'
import { SwarmTraining } from '../../../src/tune/swarm/train-swarm.ts'
import { Tuner } from '../../../src/tune/tuner.ts'
import { storiesLocation } from '../../support/models/stories.ts'
import type { NodeOptions, World } from '../../swarm/world.ts'

export const BLOCKS = 5
export const STEPS = 3
/** Rows of a step: all tokens of an example but its last. */
export const STEP_ROWS = 38
export const SHAPE: TuneShape & { readonly adapter: AdapterShape } = {
  method: 'lora',
  // By the examples' seeds: whoever computes them drops the same values.
  dropout: Math.fround(0.1),
  adapter: { rank: 2, scale: 2, targets: ['self_attn.q_proj', 'self_attn.v_proj', 'mlp.down_proj'] }
}

/** Every engine of a test: servers that are killed leave theirs behind. */
const engines: Compute[] = []

export function engine(): Compute {
  return kept(new Compute({ threads: 1, memoryBytes: 256 * 2 ** 20 }))
}

/** Closed with the others. */
export function kept(made: Compute): Compute {
  engines.push(made)
  return made
}

/** For afterAll(). */
export async function closeEngines(): Promise<void> {
  await Promise.all(engines.splice(0).map((one) => one.close()))
}

export interface Server {
  readonly node: SwarmNode
  readonly host: Host
}

export async function serve(
  world: World,
  { start, end }: { start: number; end: number },
  more: { node?: NodeOptions; host?: Partial<HostOptions> } = {}
): Promise<Server> {
  const node = world.make(more.node)
  const model = await openModel(storiesLocation)
  const blocks = { start, end }
  const host = new Host({ compute: engine(), model, blocks, quant: 'f32', node, ...more.host })
  await host.ready()
  return { node, host }
}

/** Examples of different lengths, so that several micro-batches are under way. */
function examplesOf(step: number): TokenExample[] {
  return [7, 12, 3, 20].map((length, index) => ({
    ids: Array.from({ length }, (_, i) => 3 + ((i * 7 + index * 13 + step * 5) % 400)),
    learnt: Array.from({ length }, (_, i) => i > 0 && i % 3 !== 1),
    line: index + 1
  }))
}

export interface Trained {
  /** Hash of its numbers. */
  readonly adapter: string
  readonly losses: readonly number[]
  readonly failures: readonly { readonly peer: string; readonly error: AppError }[]
  /** Of adapters, rows and gradients. */
  readonly sentBytes: number
}

export interface TrainOptions {
  readonly node?: NodeOptions
  /** Default: SHAPE. */
  readonly shape?: TuneShape
  /** Called before each step. */
  readonly onstep?: (step: number, swarm: SwarmTraining) => Promise<void> | void
  /** Patience with one call, and with all of a step, ms. */
  readonly deadlineMs?: number
  readonly patienceMs?: number
  readonly onfailure?: (peer: string, error: AppError) => void
}

/** Trains a few steps. */
export async function train(world: World, options: TrainOptions = {}): Promise<Trained> {
  const { onstep = () => {}, deadlineMs, patienceMs, shape = SHAPE } = options
  const node = await world.node(options.node)
  const model = await openModel(storiesLocation)
  const { config, contentId } = model
  await using client = new Client({ node, compute: engine(), model, findMs: 10_000 })
  await client.ready()
  using swarm = new SwarmTraining({
    node,
    client,
    model: contentId,
    blockCount: BLOCKS,
    serves: { id: toHex(contentId), names: [] },
    clock: systemClock,
    deadlineMs
  })
  const failures: { peer: string; error: AppError }[] = []
  const onfailure = (peer: string, error: AppError): void => {
    failures.push({ peer, error })
    options.onfailure?.(peer, error)
  }
  const chain = new Chain({ swarm, blockCount: BLOCKS, clock: systemClock, onfailure, patienceMs })
  const values = newValues(config, shape, 1)
  const tuner = new Tuner({ model: client.local, chain, shape, values, microRows: 16 })
  const losses: number[] = []
  for (let step = 0; step < STEPS; step++) {
    await onstep(step, swarm)
    const { signal } = new AbortController()
    const report = await tuner.step(examplesOf(step), { learningRate: 0.01, signal })
    losses.push(report.loss)
  }
  const bytes = new Uint8Array(tuner.values.adapter?.buffer ?? new ArrayBuffer(0))
  const adapter = Bun.hash.xxHash3(bytes).toString(16)
  return { adapter, losses, failures, sentBytes: swarm.sentBytes }
}
