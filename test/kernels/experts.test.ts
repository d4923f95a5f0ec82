import { expect, test } from 'bun:test'
import { loadKernels } from '../../src/kernels/load.ts'
import { ProgramBuilder } from '../../src/kernels/program.ts'
import { Runner } from '../../src/kernels/run.ts'
import { silu, softmax, times } from './support/reference.ts'
import { F32, I8, matrix, Numbers, worst } from './support/world.ts'

const kernels = loadKernels()
const WIDTH = 64
const FFN = 96
const COUNT = 6

for (const form of [F32, I8]) {
  for (const sharesOfAll of [false, true]) {
    test(`experts of form ${form} with shares of ${sharesOfAll ? 'all' : 'the chosen'} are those of float64`, () => {
      const numbers = new Numbers(8)
      const router = matrix(kernels, numbers, { rows: COUNT, columns: WIDTH })
      const experts = Array.from({ length: COUNT }, () => ({
        gateUp: matrix(kernels, numbers, { rows: 2 * FFN, columns: WIDTH, form }),
        down: matrix(kernels, numbers, { rows: WIDTH, columns: FFN, form })
      }))
      const builder = new ProgramBuilder({ width: WIDTH, outWidth: WIDTH })
      builder.block()
      builder.experts(builder.hidden, builder.out, { router, experts, chosen: 2, sharesOfAll })
      const program = builder.build()
      const rows = 19
      const hidden = numbers.floats(rows * WIDTH, 2)
      const expected = Array.from({ length: rows }, (_, row) => {
        const x = hidden.subarray(row * WIDTH, (row + 1) * WIDTH)
        const scores = times(router.source, x)
        const order = scores
          .map((_score, i) => i)
          .sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0))
        const chosen = order.slice(0, 2)
        const all = softmax(scores)
        const shares = sharesOfAll
          ? chosen.map((i) => all[i] ?? 0)
          : softmax(chosen.map((i) => scores[i] ?? 0))
        const sum = new Float64Array(WIDTH)
        for (const [at, number] of chosen.entries()) {
          const expert = experts[number]
          const wide = times(expert?.gateUp.source ?? [], x)
          const narrow = wide.slice(0, FFN).map((gate, i) => silu(gate) * (wide[FFN + i] ?? 0))
          for (const [i, value] of times(expert?.down.source ?? [], narrow).entries()) {
            sum[i] = (sum[i] ?? 0) + (shares[at] ?? 0) * value
          }
        }
        return [...sum]
      }).flat()
      for (const threads of [1, 2]) {
        using runner = new Runner(kernels, threads)
        const out = new Float32Array(hidden.length)
        const result = new Float32Array(hidden.length)
        runner.run(program, { first: 0, end: 1, rows, hidden, result, out })
        expect(worst(out, expected)).toBeLessThan(form === F32 ? 2e-6 : 2e-2)
      }
    })
  }
}
