import { expect, test } from 'bun:test'
import { loadKernels } from '../../src/kernels/load.ts'
import {
  type Activation,
  type Program,
  ProgramBuilder,
  type Value
} from '../../src/kernels/program.ts'
import { Runner } from '../../src/kernels/run.ts'
import { erf, geluErf, geluTanh, layerNorm, rmsNorm, silu } from './support/reference.ts'
import { addressOf, matrix, Numbers, worst } from './support/world.ts'

const kernels = loadKernels()

/** One row (or several) through a program of one block, from `hidden` to `out`. */
function through(program: Program, hidden: Float32Array, threads = 1): Float32Array {
  using runner = new Runner(kernels, threads)
  const rows = hidden.length / program.width
  const out = new Float32Array(rows * program.outWidth)
  const result = new Float32Array(hidden.length)
  runner.run(program, { first: 0, end: 1, rows, hidden, result, out })
  return out
}

function programOf(
  width: number,
  outWidth: number,
  body: (builder: ProgramBuilder, hidden: Value, out: Value) => void
): Program {
  const builder = new ProgramBuilder({ width, outWidth })
  builder.block()
  body(builder, builder.hidden, builder.out)
  return builder.build()
}

/** Numbers over all sizes that matter, both signs. */
function spread(length: number): Float32Array {
  const numbers = new Numbers(7)
  return Float32Array.from({ length }, (_, i) => numbers.next() * 2 ** ((i % 12) - 6))
}

for (const [kind, exact] of [
  ['silu', silu],
  ['gelu-erf', geluErf],
  ['gelu-tanh', geluTanh]
] as const) {
  test(`${kind} is within 3e-7 of the exact value or of its argument's size`, () => {
    const x = spread(6000)
    const got = through(
      programOf(6000, 6000, (builder, hidden, out) => builder.activate(hidden, out, kind)),
      x
    )
    let most = 0
    for (const [i, value] of x.entries()) {
      most = Math.max(most, Math.abs((got[i] ?? 0) - exact(value)) / Math.max(1, Math.abs(value)))
    }
    expect(most).toBeLessThan(3e-7)
  })
}

test('gated kinds multiply what stands beside', () => {
  const exact: [Activation, (x: number) => number][] = [
    ['swiglu', silu],
    ['geglu-tanh', geluTanh],
    ['geglu-erf', geluErf]
  ]
  const x = new Numbers(3).floats(2 * 77, 3)
  for (const [kind, of] of exact) {
    const got = through(
      programOf(154, 77, (builder, hidden, out) => builder.activate(hidden, out, kind)),
      x
    )
    const expected = Array.from({ length: 77 }, (_, i) => of(x[i] ?? 0) * (x[77 + i] ?? 0))
    expect(worst(got, expected)).toBeLessThan(4e-7)
  }
})

test('a soft cap is tanh, to 3 units in the last place', () => {
  const x = spread(4000)
  const got = through(
    programOf(4000, 4000, (builder, hidden, out) => {
      builder.add(out, hidden)
      builder.softCap(out, 1)
    }),
    x
  )
  let most = 0
  for (const [i, value] of x.entries()) {
    const exact = Math.tanh(value)
    most = Math.max(most, Math.abs(((got[i] ?? 0) - exact) / exact))
  }
  expect(most).toBeLessThan(3 * 2 ** -23)
})

test("the reference's own erf is right", () => {
  expect([erf(0.5), erf(1), erf(2.5), erf(-3)]).toEqual([
    expect.closeTo(0.5204998778130465, 14),
    expect.closeTo(0.8427007929497149, 14),
    expect.closeTo(0.999593047982555, 14),
    expect.closeTo(-0.9999779095030014, 14)
  ])
})

for (const width of [1, 15, 16, 96, 100, 333]) {
  test(`norms of ${width} values are those of float64`, () => {
    const numbers = new Numbers(width)
    const x = numbers.floats(width, 2, 0.5)
    const weight = numbers.floats(width, 0.5, 1)
    const bias = numbers.floats(width)
    const [w, b] = [addressOf(weight), addressOf(bias)]
    const rms = through(
      programOf(width, width, (builder, hidden, out) =>
        builder.norm(hidden, out, { kind: 'rms', weight: w, epsilon: 1e-5 })
      ),
      x
    )
    const layer = through(
      programOf(width, width, (builder, hidden, out) =>
        builder.norm(hidden, out, { kind: 'layer', weight: w, bias: b, epsilon: 1e-5 })
      ),
      x
    )
    expect(worst(rms, rmsNorm(x, weight, 1e-5))).toBeLessThan(4e-7)
    expect(worst(layer, layerNorm(x, weight, bias, 1e-5))).toBeLessThan(2e-6)
  })
}

test('a norm takes a branch into the stream first', () => {
  const numbers = new Numbers(5)
  const weight = numbers.floats(40, 0.5, 1)
  const hidden = numbers.floats(40)
  const builder = new ProgramBuilder({ width: 40, outWidth: 40 })
  builder.block()
  const branch = builder.value(40)
  builder.norm(builder.hidden, branch, { kind: 'rms', weight: addressOf(weight), epsilon: 1e-6 })
  builder.norm(builder.hidden, builder.out, {
    kind: 'rms',
    weight: addressOf(weight),
    epsilon: 1e-6,
    branch
  })
  const normed = rmsNorm(hidden, weight, 1e-6)
  const stream = normed.map((value, i) => value + (hidden[i] ?? 0))
  expect(worst(through(builder.build(), hidden), rmsNorm(stream, weight, 1e-6))).toBeLessThan(4e-7)
})

test('products lie side by side, with their biases, and may go into a stream', () => {
  const numbers = new Numbers(9)
  const bias = numbers.floats(21)
  const one = matrix(kernels, numbers, { rows: 21, columns: 64, bias })
  const two = matrix(kernels, numbers, { rows: 43, columns: 64 })
  const hidden = numbers.floats(3 * 64)
  const program = programOf(64, 64, (builder, x, out) => {
    builder.matmul(x, out, [one, two])
    builder.matmul(x, builder.value(64), [two, one], out)
  })
  const expected = [0, 1, 2].flatMap((row) => {
    const x = Array.from(hidden.subarray(row * 64, (row + 1) * 64))
    const product = (of: typeof one): number[] =>
      Array.from({ length: of.rows }, (_, n) =>
        x.reduce(
          (sum, value, i) => sum + value * (of.source[n * 64 + i] ?? 0),
          of === one ? (bias[n] ?? 0) : 0
        )
      )
    const first = [...product(one), ...product(two)]
    const second = [...product(two), ...product(one)]
    return first.map((value, i) => value + (second[i] ?? 0))
  })
  for (const threads of [1, 2]) {
    expect(worst(through(program, hidden, threads), expected)).toBeLessThan(1e-6)
  }
})

test('rows that are no numbers are told by their number', () => {
  const hidden = new Float32Array(3 * 16).fill(1)
  hidden[20] = Number.NaN
  const program = programOf(16, 0, (builder, x) => builder.scale(x, 2))
  using runner = new Runner(kernels, 1)
  const result = new Float32Array(48)
  const run = { first: 0, end: 1, rows: 3, hidden, result }
  expect(() => runner.run(program, run)).toThrow(
    expect.objectContaining({ code: 'COMPUTE', row: 1 })
  )
})

test('a run whose word of abort is set ends', () => {
  const program = programOf(16, 0, (builder, x) => builder.scale(x, 2))
  using runner = new Runner(kernels, 1)
  const hidden = new Float32Array(16)
  const abort = new Int32Array(new SharedArrayBuffer(4)).fill(1)
  const run = { first: 0, end: 1, rows: 1, hidden, result: new Float32Array(16), abort }
  expect(() => runner.run(program, run)).toThrow(expect.objectContaining({ code: 'CANCELLED' }))
})
