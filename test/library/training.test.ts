// Trainings that programs step themselves, over a model that is computed in this process: gradients
// of any loss are those of differences, and the usual loss is one of them.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { AutoDistributedModelForCausalLM, type Tensor, type Training } from '../../src/index.ts'
import { localApi, type LocalApi } from '../api/support/local-api.ts'
import { tempFolder } from '../support/temp-folder.ts'

setDefaultTimeout(60_000)

let api: LocalApi
let model: AutoDistributedModelForCausalLM

beforeAll(async () => {
  api = await localApi()
  model = new AutoDistributedModelForCausalLM(api.model)
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
})

const BATCH = [
  [1, 50, 60, 70, 80],
  [1, 90, 33],
  [1, 44, 45, 46, 47, 48, 49]
]
const LINES = ['a cat', 'a dog'].map((text) => JSON.stringify({ text })).join('\n')

const sumOf = (values: Float32Array): number => values.reduce((sum, value) => sum + value, 0)
const dot = (a: Float32Array, b: Float32Array): number =>
  a.reduce((sum, value, i) => sum + value * b[i]!, 0)

/** Moves all that is trained away from its beginning, where half of it is 0. */
function stir(training: Training): void {
  for (const list of Object.values(training.values) as (Float32Array | undefined)[]) {
    for (let i = 0; i < (list?.length ?? 0); i++) list![i] = list![i]! + 0.05 * Math.sin(i + 1)
  }
}

/** Mean of all losses. */
async function meanLoss(training: Training): Promise<number> {
  const losses = await (await training.forward(BATCH)).losses()
  const all = losses.flatMap(({ data }) => [...data])
  return all.reduce((sum, loss) => sum + loss, 0) / all.length
}

/** Of each row of logits: the gradient of -log of the target's probability. */
function softmaxGradient({ data, shape }: Tensor, ids: readonly number[], weight: number): Tensor {
  const [rows = 0, vocab = 0] = shape
  const gradient = new Float32Array(data.length)
  for (let row = 0; row < rows - 1; row++) {
    const own = data.subarray(row * vocab, (row + 1) * vocab)
    const most = own.reduce((a, b) => Math.max(a, b))
    const total = own.reduce((sum, one) => sum + Math.exp(one - most), 0)
    for (const [i, one] of own.entries()) {
      gradient[row * vocab + i] = (weight * Math.exp(one - most)) / total
    }
    gradient[row * vocab + ids[row + 1]!]! -= weight
  }
  return { data: gradient, shape }
}

describe('train()', () => {
  for (const method of ['lora', 'prompt', 'deep-prompt'] as const) {
    test(`${method}: gradients are the slopes of the loss`, async () => {
      using training = model.train({ method, rank: 2, positions: 3, rows: 8 })
      stir(training)
      const pass = await training.forward(BATCH)
      const losses = await pass.losses()
      const count = losses.reduce((sum, { data }) => sum + data.length, 0)
      const added = await pass.backward({ losses: losses.map(() => 1 / count) })
      expect(added).toEqual({ ...training.gradients })
      for (const [name, gradient] of Object.entries(training.gradients)) {
        if (gradient === undefined) continue
        const size = Math.sqrt(dot(gradient, gradient))
        const own = training.values[name as 'adapter']!
        const before = own.slice()
        const at = async (by: number): Promise<number> => {
          own.set(before.map((value, i) => value + (by * gradient[i]!) / size))
          return meanLoss(training)
        }
        const slope = ((await at(0.004)) - (await at(-0.004))) / 0.008
        own.set(before)
        expect(Math.abs(slope - size) / size).toBeLessThan(0.01)
      }
    })
  }

  test('the gradient of logits is that of the losses that are computed of them', async () => {
    using training = model.train({ rank: 2, rows: 8 })
    stir(training)
    const pass = await training.forward(BATCH)
    const byLoss = await pass.backward({ losses: BATCH.map(() => 0.5) })
    training.zero()
    const logits = await pass.logits()
    expect(logits.map(({ shape }) => shape)).toEqual(
      BATCH.map(({ length }) => [length, model.config.vocabSize])
    )
    const byLogits = await pass.backward({
      logits: logits.map((one, i) => softmaxGradient(one, BATCH[i]!, 0.5))
    })
    const [a, b] = [byLoss.adapter!, byLogits.adapter!]
    const apart = a.map((value, i) => value - b[i]!)
    expect(Math.sqrt(dot(apart, apart) / dot(a, a))).toBeLessThan(1e-3)
  })

  test('losses of a long sequence are those of its logits', async () => {
    using training = model.train({ rank: 2 })
    const ids = Array.from({ length: 150 }, (_, i) => 3 + ((i * 37) % 400))
    const pass = await training.forward([ids])
    const [[losses], [logits]] = await Promise.all([pass.losses(), pass.logits()])
    const vocab = model.config.vocabSize
    for (const [i, loss] of losses!.data.entries()) {
      const row = logits!.data.subarray(i * vocab, (i + 1) * vocab)
      const most = row.reduce((a, b) => Math.max(a, b))
      const total = row.reduce((sum, one) => sum + Math.exp(one - most), 0)
      expect(loss).toBeCloseTo(Math.log(total) + most - row[ids[i + 1]!]!, 3)
    }
    expect(losses!.shape).toEqual([149])
  })

  test('learn() is forward(), losses(), backward() and step()', async () => {
    using one = model.train({ rank: 2 })
    using other = model.train({ rank: 2 })
    const examples = one.examples(LINES)
    const report = await one.learn(examples, { learning_rate: 0.01 })
    const pass = await other.forward(examples.map(({ ids }) => ids))
    const losses = await pass.losses()
    const count = losses.reduce((sum, { data }) => sum + data.length, 0)
    await pass.backward({ losses: losses.map(() => 1 / count) })
    const { norm } = other.step({ learningRate: 0.01 })
    expect(report.tokens).toBe(count)
    expect(losses.reduce((sum, { data }) => sum + sumOf(data), 0) / count).toBeCloseTo(report.loss)
    expect(norm).toBeCloseTo(report.norm)
    const [a, b] = [one.values.adapter!, other.values.adapter!]
    // AdamW's first step goes by the sign: where a gradient is about 0, rounding decides.
    expect(a.filter((value, i) => Math.abs(value - b[i]!) < 1e-4).length).toBeGreaterThan(
      0.99 * a.length
    )
    expect(await one.evaluate(examples)).toBeLessThan(report.loss)
  })

  test('frozen, the model is as it was before the training, and nothing goes back', async () => {
    using training = model.train({ rank: 2 })
    const before = await (await training.forward(BATCH)).losses()
    stir(training)
    const pass = await training.forward(BATCH, { frozen: true })
    expect(await pass.losses()).toEqual(before)
    await expect(pass.backward({ losses: [1, 1, 1] })).rejects.toThrow('cannot go back')
    expect(await (await training.forward(BATCH)).losses()).not.toEqual(before)
  })

  test('keeps what was learnt as peft does', async () => {
    await using folder = await tempFolder()
    using training = model.train({ rank: 2 })
    await training.save(join(folder.path, 'out'))
    expect((await readdir(join(folder.path, 'out'))).sort()).toEqual([
      'adapter_config.json',
      'adapter_model.safetensors'
    ])
  })

  test('refuses options, ids and gradients that cannot be', async () => {
    using training = model.train({ rank: 2 })
    const pass = await training.forward(BATCH)
    const refused = async (work: () => unknown): Promise<string> => {
      const error = await Promise.resolve()
        .then(work)
        .catch((one: Error) => one)
      expect(error).toBeInstanceOf(Error)
      return String(error)
    }
    const loose = (options: object): Training => model.train(options)
    expect(await refused(() => loose({ ranks: 2 }))).toContain("no option 'ranks'")
    expect(await refused(() => loose({ rank: 257 }))).toContain("'rank' cannot be 257")
    expect(await refused(() => loose({ targets: 'x_proj' }))).toContain("'x_proj'")
    expect(await refused(() => training.forward([]))).toContain('at least one')
    expect(await refused(() => training.forward([[]]))).toContain('at least one id')
    expect(await refused(() => training.forward([[-1]]))).toContain('Id -1')
    expect(await refused(() => training.forward([Array(5000).fill(1)]))).toContain('ends at')
    expect(await refused(() => pass.backward({}))).toContain('needs one of')
    expect(await refused(() => pass.backward({ losses: [1] }))).toContain('1 sequences, not 3')
    expect(await refused(() => pass.backward({ losses: [[1], 1, 1] }))).toContain('(4) belong')
    expect(await refused(() => pass.backward({ losses: [NaN, 1, 1] }))).toContain('no numbers')
    expect(await refused(() => training.step({} as never))).toContain('learning_rate')
    expect(sumOf(training.gradients.adapter!)).toBe(0)
  })
})
