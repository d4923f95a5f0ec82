// Small safetensors files, as adapters and checkpoints are: written as a whole from float32, read
// as a whole. A model's files are mapped by model/formats.
import { corrupt, unsupported } from '../../base/errors.ts'

const MOST_HEADER_BYTES = 2 ** 24

export interface FloatTensor {
  readonly name: string
  readonly shape: readonly number[]
  readonly values: Float32Array
}

/** Of a file: texts by name. */
export type FileFacts = Readonly<Record<string, string>>

/** A safetensors file of float32 tensors. */
export function safetensors(tensors: readonly FloatTensor[], facts: FileFacts = {}): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt', ...facts } }
  let at = 0
  for (const { name, shape, values } of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [at, (at += values.byteLength)] }
  }
  const text = JSON.stringify(header)
  const head = new TextEncoder().encode(text.padEnd(Math.ceil(text.length / 8) * 8))
  const file = new Uint8Array(8 + head.byteLength + at)
  new DataView(file.buffer).setBigUint64(0, BigInt(head.byteLength), true)
  file.set(head, 8)
  at = 8 + head.byteLength
  for (const { values } of tensors) {
    file.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at)
    at += values.byteLength
  }
  return file
}

/** Tensors of float32, float16 or bfloat16 by name. @throws AppError CORRUPT, UNSUPPORTED */
export function readTensors(
  file: Uint8Array,
  path: string
): { tensors: Map<string, FloatTensor>; facts: FileFacts } {
  const bad = (why: string): Error => corrupt(`'${path}' is no good safetensors file: ${why}`)
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  if (file.byteLength < 8) throw bad('it is too short')
  const size = Number(view.getBigUint64(0, true))
  if (size > Math.min(MOST_HEADER_BYTES, file.byteLength - 8)) throw bad('its header is too long')
  let header: Record<string, { dtype?: unknown; shape?: unknown; data_offsets?: unknown }>
  try {
    header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + size))) as typeof header
  } catch {
    throw bad('its header is no JSON')
  }
  if (typeof header !== 'object' || header === null) throw bad('its header is no JSON object')
  const tensors = new Map<string, FloatTensor>()
  const facts: Record<string, string> = {}
  let room = file.byteLength
  for (const [name, entry] of Object.entries(header)) {
    if (typeof entry !== 'object' || entry === null) throw bad(`'${name}' is no JSON object`)
    if (name === '__metadata__') {
      for (const [key, value] of Object.entries(entry)) facts[key] = String(value)
      continue
    }
    const { dtype, shape, data_offsets: offsets } = entry
    const width = { F32: 4, F16: 2, BF16: 2 }[String(dtype)]
    if (width === undefined) throw unsupported(`'${name}' of '${path}' is ${String(dtype)}`)
    if (!isCounts(shape) || !isCounts(offsets)) throw bad(`'${name}' has no shape or place`)
    const count = shape.reduce((product, one) => product * one, 1)
    const [from = 0, to = 0] = offsets
    if (to - from !== count * width || 8 + size + to > file.byteLength) {
      throw bad(`'${name}' does not lie in the file`)
    }
    // Each is copied: tensors that lie over each other could fill any memory.
    room -= to - from
    if (room < 0) throw bad(`'${name}' lies over others`)
    const bytes = file.slice(8 + size + from, 8 + size + to)
    tensors.set(name, { name, shape, values: floatsOf(bytes, String(dtype)) })
  }
  return { tensors, facts }
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((one) => Number.isSafeInteger(one) && one >= 0)
}

function floatsOf(bytes: Uint8Array, type: string): Float32Array {
  if (type === 'F32') return new Float32Array(bytes.buffer)
  if (type === 'F16') return Float32Array.from(new Float16Array(bytes.buffer))
  const wide = Uint32Array.from(new Uint16Array(bytes.buffer), (value) => value << 16)
  return new Float32Array(wide.buffer)
}
