// Training over servers that answer wrongly, late or never, or refuse, and in a private swarm: the
// adapter is what one honest server gives, and whoever failed is named.
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import type { TrainResult, TrainStep } from '../../src/blocks/train/train-types.ts'
import type { SpanInfo, SpanOptions } from '../../src/blocks/types.ts'
import { createSwarm, issueInvite, type Invite } from '../../src/swarm/private/invite.ts'
import { Membership } from '../../src/swarm/private/membership.ts'
import { World } from '../swarm/world.ts'
import {
  BLOCKS,
  closeEngines,
  kept,
  serve,
  SHAPE,
  train,
  type Server
} from './support/train-world.ts'

const ALL = { start: 0, end: BLOCKS }

type Result = Pick<Awaited<ReturnType<typeof train>>, 'adapter' | 'losses'>
let expected: Result

afterAll(closeEngines)
beforeAll(async () => {
  await using world = await World.start()
  const { host } = await serve(world, ALL)
  const { adapter, losses } = await train(world)
  expected = { adapter, losses }
  await host.close()
}, 120_000)

/** An engine whose answers to training steps are spoilt. */
class Spoilt extends Compute {
  readonly #spoil: (result: TrainResult) => TrainResult | Promise<TrainResult>

  constructor(spoil: (result: TrainResult) => TrainResult | Promise<TrainResult>) {
    super({ threads: 1, memoryBytes: 256 * 2 ** 20 })
    this.#spoil = spoil
  }

  override async train(step: TrainStep, signal?: AbortSignal): Promise<TrainResult> {
    return this.#spoil(await super.train(step, signal))
  }
}

/** A server alone, to which an honest one comes when it has failed. */
async function trainBeside(
  spoil: (result: TrainResult) => TrainResult | Promise<TrainResult>,
  deadlineMs?: number
): Promise<Result & { failures: Awaited<ReturnType<typeof train>>['failures']; spoilt: string }> {
  await using world = await World.start()
  const spoilt = await serve(world, ALL, { host: { compute: kept(new Spoilt(spoil)) } })
  let honest: Promise<Server> | undefined
  const onfailure = (): void => void (honest ??= serve(world, ALL))
  const trained = await train(world, {
    onfailure,
    ...(deadlineMs === undefined ? {} : { deadlineMs })
  })
  await (await honest)?.host.close()
  await spoilt.host.close()
  return { ...trained, spoilt: spoilt.host.peer }
}

const short = (values: Float32Array): Float32Array => values.slice(1)
const noNumbers = (values: Float32Array): Float32Array => values.map(() => Number.NaN)
const never = (): Promise<TrainResult> => new Promise(() => {})
/** A server that came to no numbers may be right: two that do so end the training. */
const once = (spoil: (result: TrainResult) => TrainResult): typeof spoil => {
  let isDone = false
  return (result) => {
    if (isDone) return result
    isDone = true
    return spoil(result)
  }
}
const isBackward = (result: TrainResult): boolean => result.adapterGradient !== undefined
const spoilsGradient = (result: TrainResult): TrainResult =>
  result.adapterGradient === undefined
    ? result
    : { ...result, adapterGradient: short(result.adapterGradient) }

describe('a server is left out and named that', () => {
  test.each([
    ['answers with rows of another shape', /shape/, (r) => ({ ...r, hidden: short(r.hidden) })],
    [
      'answers once with no numbers',
      /no numbers/,
      once((r) => ({ ...r, hidden: noNumbers(r.hidden) }))
    ],
    ['answers with a gradient of another shape', /shape/, spoilsGradient],
    ['keeps silent on the way back', /does not answer/, (r) => (isBackward(r) ? never() : r)]
  ] as [string, RegExp, (result: TrainResult) => TrainResult | Promise<TrainResult>][])(
    '%s',
    async (_, why, spoil) => {
      const { adapter, losses, failures, spoilt } = await trainBeside(spoil, 500)
      expect({ adapter, losses }).toEqual(expected)
      expect(failures.length).toBeGreaterThan(0)
      const [first] = failures
      expect(first!.peer).toBe(spoilt)
      expect(first!.error.message).toMatch(why)
    },
    120_000
  )
})

test('a server that was too slow once is asked again when there is no other', async () => {
  await using world = await World.start()
  let calls = 0
  const slow = kept(new Spoilt((result) => (++calls === 2 ? never() : result)))
  const { host } = await serve(world, ALL, { host: { compute: slow } })
  const { adapter, losses, failures } = await train(world, { deadlineMs: 500 })
  expect({ adapter, losses }).toEqual(expected)
  expect(failures.map(({ error }) => error.code)).toEqual(['TIMEOUT'])
  await host.close()
}, 120_000)

test('a server that takes no training says so, and nobody waits', async () => {
  await using world = await World.start()
  const { host } = await serve(world, ALL, { host: { training: false } })
  await expect(train(world)).rejects.toThrow(/No server takes .*: one server of the model says so/)
  await host.close()
}, 120_000)

/** As on a device whose graphs do not pass gradients. */
class OnDevice extends Compute {
  override async loadSpan(options: SpanOptions): Promise<SpanInfo> {
    const { trains: _, ...info } = await super.loadSpan(options)
    return info
  }
}

test('a server whose device cannot train says so before anybody asks', async () => {
  await using world = await World.start()
  const memory = { threads: 1, memoryBytes: 256 * 2 ** 20 }
  const device = await serve(world, ALL, { host: { compute: kept(new OnDevice(memory)) } })
  await expect(train(world)).rejects.toMatchObject({
    code: 'NO_ROUTE',
    message: expect.stringContaining("No server takes the training's steps"),
    hint: expect.stringContaining('CPUs')
  })
  const honest = await serve(world, ALL)
  const { adapter, losses, failures } = await train(world)
  expect({ adapter, losses, failures }).toEqual({ ...expected, failures: [] })
  await device.host.close()
  await honest.host.close()
}, 120_000)

describe("servers whose blocks are onnxruntime's graphs, as on a device", () => {
  const graphs = (): Compute =>
    kept(new Compute({ threads: 1, device: 'onnx-cpu', memoryBytes: 256 * 2 ** 20 }))

  test('train, to the losses of those with our own kernels', async () => {
    const { dropout: _, ...shape } = SHAPE
    const losses = await Promise.all(
      [undefined, graphs()].map(async (compute) => {
        await using world = await World.start()
        const { host } = await serve(world, ALL, compute === undefined ? {} : { host: { compute } })
        const trained = await train(world, { shape })
        await host.close()
        return trained.losses
      })
    )
    const [own = [], device = []] = losses
    expect(device.length).toBe(own.length)
    for (const [i, loss] of own.entries())
      expect(Math.abs(device[i]! / loss - 1)).toBeLessThan(1e-4)
  }, 120_000)

  test('say that they cannot drop values, and nobody waits', async () => {
    await using world = await World.start()
    const { host } = await serve(world, ALL, { host: { compute: graphs() } })
    await expect(train(world)).rejects.toThrow(/No server takes .*: Dropout cannot be computed/)
    await host.close()
  }, 120_000)
})

describe('in a private swarm', () => {
  const root = createSwarm()
  const member = (invite: Invite): { membership: Membership } => ({
    membership: new Membership(invite)
  })

  async function trainWith(invite: Invite): Promise<Awaited<ReturnType<typeof train>>> {
    await using world = await World.start()
    const node = member(issueInvite(root, { may: ['serve'] }))
    const { host } = await serve(world, ALL, { node })
    try {
      return await train(world, { node: member(invite) })
    } finally {
      await host.close()
    }
  }

  test('an invite that permits to tune trains', async () => {
    const { adapter, losses } = await trainWith(issueInvite(root, { may: ['tune'] }))
    expect({ adapter, losses }).toEqual(expected)
  }, 120_000)

  test('an invite that permits to chat alone does not', async () => {
    await expect(trainWith(issueInvite(root, { may: ['chat'] }))).rejects.toThrow(
      'does not permit to tune'
    )
  }, 120_000)

  test("an invite's tokens of a day end the training", async () => {
    // A step has 38 rows, each way.
    await expect(trainWith(issueInvite(root, { tokensPerDay: 100 }))).rejects.toThrow(
      'tokens of today are spent'
    )
  }, 120_000)
})
