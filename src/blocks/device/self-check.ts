// Compares a device with the CPU before a model is trusted to it: one small attention, the operator
// with the most device-specific code. Knows no models.
import { seededRandom } from '../../base/random.ts'
import { unavailable } from '../../base/errors.ts'
import { float, GraphBuilder, MICROSOFT } from '../graph/builder.ts'
import type { OrtRuntime } from '../ort/runtime.ts'
import { OrtBinding, OrtSession, type SessionSettings } from '../ort/session.ts'
import { OrtTensor } from '../ort/value.ts'

const HEADS = 4
const WIDTH = 32
const PAST = 40
const CAPACITY = 256
/** Relative to the largest value. float16 inside a device's kernel still passes. */
const TOLERANCE = 1e-2
/**
 * Rows at once, and rows to check them with. From 32 rows on a kernel is used that needs wide
 * subgroups: on SwiftShader, whose subgroups are 4 wide, its results are wrong, while the kernel
 * for fewer rows is right.
 */
const CHUNKS = [
  { chunkRows: 512, rows: 48 },
  { chunkRows: 16, rows: 17 }
] as const

/** The most rows that the device computes correctly at once. @throws AppError UNAVAILABLE */
export function trustedRows(
  runtime: OrtRuntime,
  device: string,
  settings: SessionSettings
): number {
  for (const { chunkRows, rows } of CHUNKS) {
    const actual = attend(runtime, settings, rows)
    const expected = attend(runtime, { threads: 1 }, rows)
    const size = expected.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
    const isRight = expected.every(
      (value, i) => Math.abs(value - (actual[i] ?? Number.NaN)) <= TOLERANCE * size
    )
    if (isRight) return chunkRows
  }
  throw unavailable(`'${device}' cannot be used: its attention differs from the CPU's`, {
    hint: "Update the GPU's driver, or use --device cpu"
  })
}

function attend(runtime: OrtRuntime, settings: SessionSettings, rows: number): Float32Array {
  const builder = new GraphBuilder('check')
  const cache = [1, HEADS / 2, CAPACITY, WIDTH]
  const random = seededRandom(1)
  const filled = (length: number): Float32Array =>
    Float32Array.from({ length }, () => 2 * random.next() - 1)
  const inputs = {
    qkv: {
      type: 'f32',
      dims: [1, rows, 2 * HEADS * WIDTH],
      data: filled(rows * 2 * HEADS * WIDTH)
    },
    key: { type: 'f32', dims: cache, data: filled((HEADS / 2) * CAPACITY * WIDTH) },
    value: { type: 'f32', dims: cache, data: filled((HEADS / 2) * CAPACITY * WIDTH) },
    lengths: { type: 'i32', dims: [1], data: Int32Array.of(PAST + rows - 1) },
    total: { type: 'i32', dims: [1], data: Int32Array.of(PAST + rows) }
  } as const
  for (const [name, { type, dims }] of Object.entries(inputs)) builder.input(name, type, dims)
  const outputs = ['attended', 'keys', 'values']
  builder.nodes('GroupQueryAttention', ['qkv', '', '', 'key', 'value', 'lengths', 'total'], {
    domain: MICROSOFT,
    attributes: { num_heads: HEADS, kv_num_heads: HEADS / 2, scale: float(WIDTH ** -0.5) },
    outputs
  })
  const results = [[1, rows, HEADS * WIDTH], cache, cache].map((dims, i) => {
    builder.output(outputs[i] ?? '', 'f32', dims)
    return { dims, data: new Float32Array(dims.reduce((product, size) => product * size, 1)) }
  })
  const parts = { model: builder.build(), weights: new Map() }
  using session = new OrtSession(runtime, parts, settings)
  using binding = new OrtBinding(session)
  using held = new DisposableStack()
  for (const [name, { type, dims, data }] of Object.entries(inputs)) {
    binding.input(name, held.use(OrtTensor.view(runtime, data, type, dims)))
  }
  for (const [i, { dims, data }] of results.entries()) {
    binding.output(outputs[i] ?? '', held.use(OrtTensor.view(runtime, data, 'f32', dims)))
  }
  session.run(binding)
  return results[0]?.data ?? new Float32Array(0)
}
