// Products with turned weights, in every form: the chain over a product's outputs, to the bit.
import { expect, test } from 'bun:test'
import { copy, matmulBack } from '../../src/kernels/gradient-operations.ts'
import type { Kernels } from '../../src/kernels/kernels.ts'
import { loadKernels, usableVariants } from '../../src/kernels/load.ts'
import { ProgramBuilder, type PackedMatrix } from '../../src/kernels/program.ts'
import { Runner } from '../../src/kernels/run.ts'
import { dequantise } from '../../src/model/formats/dequantise.ts'
import { TYPE_FACTS } from '../../src/model/formats/tensor-types.ts'
import type { TensorType } from '../../src/model/types.ts'
import { fma } from './support/exact-product.ts'
import { randomSource } from './support/products.ts'
import { addressOf, aligned, Numbers } from './support/world.ts'

/**
 * Of two matrices: the second one's chain goes on from the first one's; neither fills its groups.
 */
const SIZES = [40, 150]
const COLUMNS = 512
const ROWS = 9
const TYPES = Object.keys(TYPE_FACTS) as TensorType[]

function packed(kernels: Kernels, type: TensorType, rows: number): [PackedMatrix, Float32Array] {
  const source = randomSource(type, rows, COLUMNS)
  const form = TYPE_FACTS[type].ggufId
  const data = aligned(kernels.packedBytes(form, rows, COLUMNS))
  const job = { form, sourceForm: form, columns: COLUMNS, first: 0, count: rows, packed: data }
  expect(kernels.pack({ ...job, source: source.bytes })).toBe(-1)
  return [{ data: addressOf(data), form, rows, columns: COLUMNS }, dequantise(type, source.bytes)]
}

test.each(TYPES)('gradients through %s are chains over its rows, added or set', (type) => {
  const width = SIZES[0]! + SIZES[1]!
  const numbers = new Numbers(3)
  const hidden = numbers.floats(ROWS * COLUMNS)
  const gradient = numbers.floats(ROWS * width)
  const expected: Float32Array[] = []
  for (const variant of usableVariants()) {
    const kernels = loadKernels({ variant })
    using runner = new Runner(kernels, 2)
    const [first, second] = SIZES.map((rows) => packed(kernels, type, rows))
    for (const adds of [false, true]) {
      const builder = new ProgramBuilder({ width: COLUMNS, outWidth: width, maxRows: ROWS })
      builder.block()
      const back = builder.value(COLUMNS)
      if (adds) copy(builder, back, builder.hidden)
      const matrices = [first![0], second![0]]
      matmulBack(builder, { gradient: builder.out, back }, { matrices, adds })
      copy(builder, builder.hidden, back)
      const result = new Float32Array(hidden.length)
      const run = { first: 0, end: 1, rows: ROWS, hidden, result, out: gradient }
      runner.run(builder.build(), run)
      const weights = [...first![1], ...second![1]]
      expected[adds ? 1 : 0] ??= chains(weights, {
        gradient,
        width,
        start: adds ? hidden : undefined
      })
      expect(result.map((v) => v + 0) as Float32Array).toEqual(expected[adds ? 1 : 0]!)
    }
  }
})

interface ChainFacts {
  readonly gradient: Float32Array
  readonly width: number
  /** What chains begin with. Default: 0. */
  readonly start: Float32Array | undefined
}

function chains(weights: readonly number[], { gradient, width, start }: ChainFacts): Float32Array {
  return Float32Array.from({ length: ROWS * COLUMNS }, (_, at) => {
    const [row, k] = [Math.floor(at / COLUMNS), at % COLUMNS]
    let sum = start?.[at] ?? 0
    for (let n = 0; n < width; n++) {
      sum = fma(weights[n * COLUMNS + k]!, gradient[row * width + n]!, sum)
    }
    return sum + 0
  })
}
