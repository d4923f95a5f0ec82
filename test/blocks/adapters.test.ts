// Sessions with adapters: torch's rows of every family, the bits of a session alone whoever runs
// beside it, and nothing of adapters that do not fit.
import { describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SpanAdapter, Weighted } from '../../src/blocks/adapters/adapter-types.ts'
import { adapterNumbers, adapterParts } from '../../src/blocks/train/adapter-shape.ts'
import { usableVariants } from '../../src/kernels/load.ts'
import { openModel } from '../../src/model/open-model.ts'
import type { ModelConfig, ModelLocation } from '../../src/model/types.ts'
import { readFixture } from '../families/support/fixture.ts'
import { hashOf, Numbers, worst } from '../kernels/support/world.ts'
import { readTensors, safetensors } from '../../src/tune/adapter/safetensors-file.ts'
import { smollm2Location } from '../support/models/smollm2.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { NEVER, runPiece, testEngine, type TestEngine } from './support/engine-helpers.ts'

const LENGTHS = [9, 1, 14]
const ROWS = 24
const PROMPT = 2
/** Of the largest value: float32 beside float64, as in train/torch.test.ts. */
const TOLERANCE = 5e-5

interface Answer {
  readonly targets: readonly string[]
  readonly output: string
}

const path = join(import.meta.dir, '..', 'fixtures', 'gradients.json')
const answers = JSON.parse(readFileSync(path, 'utf8')) as Record<string, Answer>

async function configOf(location: ModelLocation): Promise<ModelConfig> {
  const model = await openModel(location)
  model.close()
  return model.config
}

/** Rows of one session, in steps of `size`. */
function run(
  { engine }: TestEngine,
  session: number,
  rows: Float32Array,
  { width, size }: { width: number; size: number }
): Float32Array {
  const out = new Float32Array(rows.length)
  for (let at = 0; at < rows.length; at += size * width) {
    const hidden = rows.slice(at, at + size * width)
    const start = at / width
    const end = start + hidden.length / width
    out.set(runPiece(engine, { session, start, end, hidden }), at)
  }
  return out
}

describe("rows of sessions with an adapter and prompts are torch's", () => {
  for (const [name, answer] of Object.entries(answers)) {
    test(name, async () => {
      using engine = testEngine()
      const { location } = readFixture(name)
      const config = await configOf(location)
      const range = { start: 0, end: config.blockCount }
      const { span } = await engine.load({ location, ...range, quant: 'f32' })
      const known = adapterParts(config).map(({ target }) => target)
      const shape = { rank: 1, scale: 2, targets: known.filter((one) => isIn(answer, one)) }
      const numbers = new Numbers(7)
      const width = config.hiddenSize
      const hidden = numbers.floats(ROWS * width)
      // The rows' gradients.
      numbers.floats(ROWS * width)
      const { adapter } = engine.engine.loadAdapter(span, {
        lora: { shape, values: numbers.floats(adapterNumbers(config, shape, range), 0.1) },
        prompts: numbers.floats(config.blockCount * PROMPT * width, 0.3)
      })
      const out = new Float32Array(hidden.length)
      let at = 0
      for (const length of LENGTHS) {
        const session = engine.engine.openSession(span, undefined, [{ adapter, weight: 1 }])
        const rows = hidden.slice(at * width, (at + length) * width)
        out.set(run(engine, session, rows, { width, size: 4 }), at * width)
        at += length
      }
      const reference = new Float32Array(Uint8Array.fromBase64(answer.output).buffer)
      expect(worst(out, reference)).toBeLessThan(TOLERANCE)
    })
  }
})

function isIn({ targets }: Answer, target: string): boolean {
  return targets.includes(target)
}

/** Adapters of SmolLM2's first blocks: two of low rank, and a deep prompt. */
function adaptersOf(config: ModelConfig, blocks: number): readonly SpanAdapter[] {
  const numbers = new Numbers(3)
  const range = { start: 0, end: blocks }
  const all = adapterParts(config).map(({ target }) => target)
  const shapes = [
    { rank: 8, scale: 2, targets: all },
    { rank: 20, scale: 0.5, targets: ['self_attn.q_proj', 'self_attn.v_proj'] }
  ]
  const loras = shapes.map((shape): SpanAdapter => {
    const values = numbers.floats(adapterNumbers(config, shape, range), 0.05)
    return { lora: { shape, values } }
  })
  return [...loras, { prompts: numbers.floats(blocks * 3 * config.hiddenSize, 0.2) }]
}

const BLOCKS = 4
/** By the number of an adapter above, and its weight. */
const MIXES: readonly (readonly Weighted<number>[])[] = [
  [],
  [{ adapter: 0, weight: 1 }],
  [{ adapter: 1, weight: 1 }],
  [
    { adapter: 0, weight: 0.5 },
    { adapter: 1, weight: -1.5 }
  ],
  [
    { adapter: 2, weight: 1 },
    { adapter: 1, weight: 1 }
  ]
]

describe('the bits of a row are its own', () => {
  test('on every instruction set, for any cut, thread and company', async () => {
    const location = await smollm2Location()
    const config = await configOf(location)
    const width = config.hiddenSize
    const rows = new Numbers(5).floats(40 * width)
    const seen = MIXES.map(() => new Set<string>())
    for (const variant of usableVariants()) {
      for (const threads of [1, 3]) {
        using engine = testEngine({ variant, threads })
        const options = { location, start: 0, end: BLOCKS, quant: 'native' } as const
        const { span } = await engine.load(options)
        const ids = adaptersOf(config, BLOCKS).map(
          (one) => engine.engine.loadAdapter(span, one).adapter
        )
        const open = (mix: readonly Weighted<number>[]): number => {
          const own = mix.map(({ adapter, weight }) => ({ adapter: ids[adapter] ?? 0, weight }))
          return engine.engine.openSession(span, undefined, own)
        }
        for (const [index, mix] of MIXES.entries()) {
          for (const size of [1, 7, 40]) {
            seen[index]?.add(hashOf(run(engine, open(mix), rows, { width, size })))
          }
        }
        for (const [index, hash] of together(engine, MIXES.map(open), rows, width).entries()) {
          seen[index]?.add(hash)
        }
      }
    }
    expect(seen.map(({ size }) => size)).toEqual(MIXES.map(() => 1))
    expect(new Set(seen.flatMap((hashes) => [...hashes])).size).toBe(MIXES.length)
  }, 120_000)

  test('without an adapter they are those of an engine that has none', async () => {
    const location = await smollm2Location()
    const config = await configOf(location)
    const width = config.hiddenSize
    const rows = new Numbers(5).floats(9 * width)
    using engine = testEngine()
    const { span } = await engine.load({ location, start: 0, end: 2, quant: 'native' })
    const before = hashOf(engine.feed(span, rows, width, 4))
    const [lora] = adaptersOf(config, 2)
    const { adapter } = engine.engine.loadAdapter(span, lora ?? {})
    engine.engine.openSession(span, undefined, [{ adapter, weight: 1 }])
    expect(hashOf(engine.feed(span, rows, width, 4))).toBe(before)
  })

  test('in every cut of the blocks, and of a fork', async () => {
    const location = await smollm2Location()
    const config = await configOf(location)
    const width = config.hiddenSize
    const [whole, back] = [new Numbers(5).floats(20 * width), { start: 2, end: 4 }]
    using engine = testEngine()
    const { span } = await engine.load({ location, start: 0, end: BLOCKS, quant: 'native' })
    const ids = adaptersOf(config, BLOCKS).map(
      (one) => engine.engine.loadAdapter(span, one).adapter
    )
    const mix = [ids[0] ?? 0, ids[2] ?? 0].map((adapter) => ({ adapter, weight: 1 }))
    const session = engine.engine.openSession(span, undefined, mix)
    const expected = run(engine, session, whole, { width, size: 20 })
    const front = engine.engine.openSession(span, { start: 0, end: 2 }, mix)
    const middle = run(engine, front, whole, { width, size: 6 })
    const behind = engine.engine.openSession(span, back, mix)
    expect(hashOf(run(engine, behind, middle, { width, size: 20 }))).toBe(hashOf(expected))
    const fork = engine.engine.forkSession(session, 12)
    engine.engine.closeSession(session)
    for (const adapter of ids) engine.engine.unloadAdapter(adapter)
    const hidden = whole.slice(12 * width)
    const rest = runPiece(engine.engine, { session: fork, start: 12, end: 20, hidden })
    expect(hashOf(rest)).toBe(hashOf(expected.slice(12 * width)))
  })
})

/** Sessions in one run each step, with steps of different lengths; hashes of their rows. */
function together(
  { engine }: TestEngine,
  sessions: readonly number[],
  rows: Float32Array,
  width: number
): string[] {
  const outs = sessions.map(() => new Float32Array(rows.length))
  const done = sessions.map(() => 0)
  while (done.some((at) => at < rows.length)) {
    const pieces = sessions.flatMap((session, index) => {
      const at = done[index] ?? 0
      const hidden = rows.slice(at, at + (index + 1) * width)
      if (hidden.length === 0) return []
      const start = at / width
      return { index, at, piece: { session, start, end: start + hidden.length / width, hidden } }
    })
    const outcomes = engine.run(
      pieces.map(({ piece }) => piece),
      NEVER
    )
    for (const [i, { index, at, piece }] of pieces.entries()) {
      const outcome = outcomes[i]
      if (!(outcome instanceof Float32Array)) throw outcome
      outs[index]?.set(outcome, at)
      done[index] = at + piece.hidden.length
    }
  }
  return outs.map((out) => hashOf(out))
}

test('low-rank additions are those of weights that were changed by them', async () => {
  await using folder = await tempFolder()
  const { location } = readFixture('llama')
  const config = await configOf(location)
  const range = { start: 0, end: config.blockCount }
  const targets = adapterParts(config).map(({ target }) => target)
  const shape = { rank: 3, scale: 0.5, targets }
  const values = new Numbers(9).floats(adapterNumbers(config, shape, range), 0.3)
  const [from = ''] = location.paths
  const { tensors } = readTensors(
    new Uint8Array(readFileSync(join(from, 'model.safetensors'))),
    'the model'
  )
  let at = 0
  for (let block = 0; block < config.blockCount; block++) {
    for (const { target, inputs, outputs } of adapterParts(config)) {
      const a = values.subarray(at, (at += 3 * inputs))
      const b = values.subarray(at, (at += outputs * 3))
      const weight = tensors.get(`model.layers.${block}.${target}.weight`)!.values
      for (let i = 0; i < weight.length; i++) {
        const [row, column] = [Math.floor(i / inputs), i % inputs]
        for (let r = 0; r < 3; r++) {
          weight[i] = weight[i]! + 0.5 * b[row * 3 + r]! * a[r * inputs + column]!
        }
      }
    }
  }
  await folder.write('model.safetensors', safetensors([...tensors.values()]))
  await folder.write('config.json', readFileSync(join(from, 'config.json')))
  using engine = testEngine()
  const width = config.hiddenSize
  const rows = new Numbers(5).floats(6 * width)
  const merged = await engine.load({
    location: { kind: 'folder', paths: [folder.path] },
    ...range,
    quant: 'f32'
  })
  const expected = engine.feed(merged.span, rows, width, 6)
  const { span } = await engine.load({ location, ...range, quant: 'f32' })
  const { adapter } = engine.engine.loadAdapter(span, { lora: { shape, values } })
  // Once, and in two halves.
  for (const weights of [[1], [0.25, 0.75]]) {
    const mix = weights.map((weight) => ({ adapter, weight }))
    const session = engine.engine.openSession(span, undefined, mix)
    const found = run(engine, session, rows, { width, size: 6 })
    expect(worst(found, expected)).toBeLessThan(1e-5)
  }
  expect(worst(engine.feed(span, rows, width, 6), expected)).toBeGreaterThan(1e-2)
})

describe('refused is', () => {
  const shape = { rank: 2, scale: 1, targets: ['self_attn.q_proj'] }

  test.each([
    ['an adapter of another size', { lora: { shape, values: new Float32Array(7) } }, 'BAD_INPUT'],
    [
      'a rank without bounds',
      { lora: { shape: { ...shape, rank: 1e9 }, values: new Float32Array(8) } },
      'BAD_INPUT'
    ],
    [
      'a target that the model lacks',
      { lora: { shape: { ...shape, targets: ['lm_head'] }, values: new Float32Array(8) } },
      'UNSUPPORTED'
    ],
    ['a prompt of a part of a row', { prompts: new Float32Array(5) }, 'BAD_INPUT']
  ])('%s', async (_, adapter, code) => {
    using engine = testEngine()
    const { location } = readFixture('llama')
    const { span } = await engine.load({ location, start: 0, end: 1, quant: 'f32' })
    expect(() => engine.engine.loadAdapter(span, adapter)).toThrow(
      expect.objectContaining({ code })
    )
  })

  test('what is no number, and what no memory is left for', async () => {
    using engine = testEngine({ memoryBytes: 2 ** 21 })
    const { location } = readFixture('llama')
    const config = await configOf(location)
    const { span } = await engine.load({ location, start: 0, end: 1, quant: 'f32' })
    const targets = adapterParts(config).map(({ target }) => target)
    const large = { rank: 256, scale: 1, targets }
    const free = engine.engine.stats().freeBytes
    const count = (of: typeof large): number => adapterNumbers(config, of, { start: 0, end: 1 })
    const values = new Float32Array(count({ ...large, rank: 2 })).fill(NaN)
    expect(() =>
      engine.engine.loadAdapter(span, { lora: { shape: { ...large, rank: 2 }, values } })
    ).toThrow('no numbers')
    const many = new Float32Array(count(large))
    expect(() => {
      for (let i = 0; i < 20; i++) {
        engine.engine.loadAdapter(span, { lora: { shape: large, values: many } })
      }
    }).toThrow(expect.objectContaining({ code: 'NO_MEMORY' }))
    expect(engine.engine.stats().freeBytes).toBeLessThan(free)
  })

  test('two prompts at once, and one that counts half', async () => {
    using engine = testEngine()
    const { location } = readFixture('llama')
    const config = await configOf(location)
    const { span } = await engine.load({ location, start: 0, end: 1, quant: 'f32' })
    const prompts = new Float32Array(config.hiddenSize)
    const { adapter } = engine.engine.loadAdapter(span, { prompts })
    const twice = [1, 1].map((weight) => ({ adapter, weight }))
    expect(() => engine.engine.openSession(span, undefined, twice)).toThrow('mixed')
    const half = [{ adapter, weight: 0.5 }]
    expect(() => engine.engine.openSession(span, undefined, half)).toThrow('mixed')
    expect(engine.engine.stats().sessions).toBe(0)
  })

  test('every adapter where ONNX graphs compute', async () => {
    using engine = testEngine({ onnx: true })
    const { location } = readFixture('llama')
    const { span } = await engine.load({ location, start: 0, end: 1, quant: 'f32' })
    expect(() => engine.engine.loadAdapter(span, {})).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED' })
    )
  })
})

test('an adapter that was unloaded is freed with the last session that uses it', async () => {
  using engine = testEngine()
  const { location } = readFixture('llama')
  const config = await configOf(location)
  const { span } = await engine.load({ location, start: 0, end: 1, quant: 'f32' })
  const before = engine.engine.stats().freeBytes
  const prompts = new Float32Array(config.hiddenSize)
  const { adapter, sizeBytes } = engine.engine.loadAdapter(span, { prompts })
  const session = engine.engine.openSession(span, undefined, [{ adapter, weight: 1 }])
  engine.engine.unloadAdapter(adapter)
  expect(engine.engine.stats().freeBytes).toBe(before - sizeBytes)
  expect(() => engine.engine.openSession(span, undefined, [{ adapter, weight: 1 }])).toThrow(
    'not loaded'
  )
  engine.engine.closeSession(session)
  expect(engine.engine.stats().freeBytes).toBe(before)
})
