// Parses the header of one safetensors file: names, types, shapes and places of its tensors. Knows
// no models; folder.ts decides which tensors are used.
import { corrupt, toAppError } from '../../base/errors.ts'
import { AbsentBytes, type MappedFile } from './mapped-file.ts'
import { countOf } from './tensor-types.ts'

/** Limits on what a file may claim. */
const MAX_HEADER_BYTES = 2 ** 25 // 100,000 tensors need 15 MiB; the format allows 100 MB
const MAX_DIMENSIONS = 8 // real ones have up to 5
const MAX_DIMENSION = 2 ** 40

/** Bytes per value of each of the format's types with whole bytes. */
const TYPE_BYTES: Readonly<Record<string, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1
}

export interface SafeTensor {
  readonly name: string
  /** The file's name for it, e.g. 'BF16'. */
  readonly type: string
  readonly shape: readonly number[]
  /** Bytes from the start of the file. */
  readonly offset: number
  readonly sizeBytes: number
}

/** @throws AppError CORRUPT */
export function parseSafetensors(file: MappedFile): SafeTensor[] {
  const bad = (why: string, cause?: unknown): Error =>
    corrupt(`'${file.path}' is no good safetensors file: ${why}`, { cause })
  if (file.sizeBytes < 8) throw bad('it is too short')
  if (file.presentBytes < 8) throw new AbsentBytes(file.path, 8)
  const head = file.bytes(0, 8)
  const headerBytes = Number(
    new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true) // exact up to the limit
  )
  if (headerBytes > Math.min(MAX_HEADER_BYTES, file.sizeBytes - 8)) {
    throw bad(`its header claims ${headerBytes} bytes`)
  }
  if (file.presentBytes < 8 + headerBytes) throw new AbsentBytes(file.path, 8 + headerBytes)
  let header: unknown
  try {
    header = JSON.parse(new TextDecoder().decode(file.bytes(8, headerBytes)))
  } catch (error) {
    throw bad(`its header is no JSON (${toAppError(error).message})`, error)
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header)) {
    throw bad('its header is no object')
  }
  const start = 8 + headerBytes
  const tensors: SafeTensor[] = []
  for (const [name, claim] of Object.entries(header)) {
    if (name === '__metadata__') continue
    const { dtype, shape, data_offsets: offsets } = (claim ?? {}) as Record<string, unknown>
    if (typeof dtype !== 'string') throw bad(`tensor '${name}' has no type`)
    if (!isShape(shape)) throw bad(`tensor '${name}' has no good shape`)
    if (!isPair(offsets)) throw bad(`tensor '${name}' has no good offsets`)
    const [begin, end] = offsets
    // A type that came later than this: whoever wants the tensor refuses it by name.
    const width = Object.hasOwn(TYPE_BYTES, dtype) ? TYPE_BYTES[dtype] : undefined
    const sizeBytes = end - begin
    if (width !== undefined && sizeBytes !== countOf(shape, name) * width) {
      throw bad(`tensor '${name}' has other bytes than its shape`)
    }
    if (start + end > file.sizeBytes) throw bad(`tensor '${name}' ends past the file`)
    tensors.push({ name, type: dtype, shape, offset: start + begin, sizeBytes })
  }
  let last = 0
  // An empty tensor lies where the next one begins.
  const inOrder = tensors.toSorted((a, b) => a.offset - b.offset || a.sizeBytes - b.sizeBytes)
  for (const { name, offset, sizeBytes } of inOrder) {
    if (offset < last) throw bad(`tensor '${name}' lies over another`)
    last = offset + sizeBytes
  }
  return tensors
}

function isShape(value: unknown): value is number[] {
  return (
    Array.isArray(value) &&
    value.length <= MAX_DIMENSIONS &&
    value.every((size) => Number.isInteger(size) && size >= 0 && size <= MAX_DIMENSION)
  )
}

function isPair(value: unknown): value is [number, number] {
  return (
    Array.isArray(value) &&
    value.length === 2 &&
    value.every((at) => Number.isSafeInteger(at) && at >= 0) &&
    value[0] <= value[1]
  )
}
