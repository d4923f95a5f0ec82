import { expect, setDefaultTimeout, test } from 'bun:test'
import { loadKernels } from '../../src/kernels/load.ts'
import { type KvType, type Program, ProgramBuilder } from '../../src/kernels/program.ts'
import { Runner } from '../../src/kernels/run.ts'
import { attention, type AttentionFacts } from './support/reference.ts'
import { addressOf, aligned, matrix, Numbers, runRows, worst } from './support/world.ts'

// A machine that does other things at the same time must not fail these.
setDefaultTimeout(120_000)

const kernels = loadKernels()

/** A block that is nothing but attention: hidden becomes what it saw, by way of unit matrices. */
function programOf(facts: AttentionFacts, options: { kv: KvType; width: number }): Program {
  const { heads, kvHeads, headDim, rope, headNorms, slopes, sinks } = facts
  const builder = new ProgramBuilder({ width: options.width, kv: options.kv, maxRows: 64 })
  builder.block()
  const qkv = builder.value((heads + 2 * kvHeads) * headDim)
  const seen = builder.value(heads * headDim)
  // What a run before this one left there is gone first.
  builder.scale(qkv, 0)
  builder.add(qkv, builder.hidden)
  builder.scale(builder.hidden, 0)
  builder.attention(qkv, seen, {
    heads,
    kvHeads,
    headDim,
    scale: facts.scale,
    window: facts.window,
    softCap: facts.softCap,
    rope:
      rope === undefined
        ? undefined
        : {
            cos: addressOf(rope.cos),
            sin: addressOf(rope.sin),
            positions: (2 * rope.cos.length) / rope.rotary,
            rotary: rope.rotary
          },
    headNorms:
      headNorms === undefined
        ? undefined
        : {
            query: addressOf(headNorms.query),
            key: addressOf(headNorms.key),
            epsilon: headNorms.epsilon
          },
    slopes: slopes === undefined ? undefined : addressOf(slopes),
    sinks: sinks === undefined ? undefined : addressOf(sinks)
  })
  const wide = matrix(kernels, new Numbers(1), { rows: options.width, columns: heads * headDim })
  wide.source.fill(0)
  for (let i = 0; i < heads * headDim; i++) wide.source[i * heads * headDim + i] = 1
  const unit = { ...wide }
  repack(unit)
  builder.matmul(seen, builder.value(options.width), [unit], builder.hidden)
  return builder.build()
}

/** Packs a matrix's source anew, into memory of its own. */
function repack(of: ReturnType<typeof matrix>): void {
  const packed = aligned(kernels.packedBytes(of.form, of.rows, of.columns))
  const status = kernels.pack({
    form: of.form,
    sourceForm: 0,
    columns: of.columns,
    source: new Uint8Array(of.source.buffer),
    first: 0,
    count: of.rows,
    packed
  })
  if (status !== -1) throw new Error(`pack() says ${status}`)
  Object.assign(of, { data: addressOf(packed) })
}

const numbers = new Numbers(11)
const tables = (half: number): { cos: Float32Array; sin: Float32Array } => {
  const angles = Float32Array.from(
    { length: 700 * half },
    (_, i) => Math.floor(i / half) * 10 ** ((-4 * (i % half)) / half)
  )
  return { cos: angles.map(Math.cos), sin: angles.map(Math.sin) }
}

const CASES: readonly [string, AttentionFacts, number][] = [
  ['one head for each', { heads: 3, kvHeads: 3, headDim: 16 }, 40],
  ['a group of five, heads of 20', { heads: 10, kvHeads: 2, headDim: 20 }, 300],
  ['seven to one, heads of 6', { heads: 7, kvHeads: 1, headDim: 6 }, 270],
  ['a window inside of chunks', { heads: 4, kvHeads: 2, headDim: 32, window: 37 }, 300],
  ['a window over chunks', { heads: 4, kvHeads: 4, headDim: 24, window: 260 }, 600],
  ['a cap and a scale', { heads: 2, kvHeads: 1, headDim: 48, softCap: 5, scale: 0.7 }, 70],
  ['slopes', { heads: 4, kvHeads: 4, headDim: 8, slopes: numbers.floats(4, 0.2, 0.3) }, 300],
  ['sinks', { heads: 4, kvHeads: 2, headDim: 16, sinks: numbers.floats(4, 2) }, 280],
  [
    'turned in part, heads normed',
    {
      heads: 4,
      kvHeads: 2,
      headDim: 20,
      rope: { ...tables(6), rotary: 12 },
      headNorms: {
        query: numbers.floats(20, 0.3, 1),
        key: numbers.floats(20, 0.3, 1),
        epsilon: 1e-6
      }
    },
    290
  ],
  ['heads of 1', { heads: 2, kvHeads: 1, headDim: 1 }, 40],
  ['heads of 7', { heads: 3, kvHeads: 3, headDim: 7 }, 270],
  ['heads of 80 and a window', { heads: 2, kvHeads: 1, headDim: 80, window: 100 }, 130],
  ['heads of 256', { heads: 2, kvHeads: 1, headDim: 256 }, 40],
  [
    'a window, sinks, a cap and slopes at once',
    {
      heads: 6,
      kvHeads: 2,
      headDim: 20,
      window: 261,
      softCap: 9,
      sinks: numbers.floats(6, 2),
      slopes: numbers.floats(6, 0.05, 0.06)
    },
    560
  ],
  [
    'a window of one position and a sink',
    { heads: 2, kvHeads: 1, headDim: 12, window: 1, sinks: numbers.floats(2, 1) },
    40
  ],
  ['turned whole', { heads: 2, kvHeads: 2, headDim: 40, rope: { ...tables(20), rotary: 40 } }, 60]
]

const BOUNDS: Readonly<Record<KvType, number>> = { f32: 2e-6, f16: 2e-3, int8: 2e-2 }

for (const [name, facts, count] of CASES) {
  for (const kv of ['f32', 'f16', 'int8'] as const) {
    test(`attention with ${name} over ${kv} is that of float64`, () => {
      const width = (facts.heads + 2 * facts.kvHeads) * facts.headDim
      const program = programOf(facts, { kv, width })
      const hidden = new Numbers(count).floats(count * width, 2)
      const rows = Array.from({ length: count }, (_, row) =>
        hidden.subarray(row * width, (row + 1) * width)
      )
      const expected = attention(rows, facts).flatMap((row) => [
        ...row,
        ...Array.from({ length: width - row.length }, () => 0)
      ])
      using runner = new Runner(kernels, 2)
      expect(worst(runRows(runner, program, hidden, 64), expected)).toBeLessThan(BOUNDS[kv])
    })
  }
}
