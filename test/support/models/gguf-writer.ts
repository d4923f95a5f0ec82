// Writes small GGUF files for tests, also wrong ones: every count and offset can be given.
import { TYPE_FACTS } from '../../../src/model/formats/tensor-types.ts'
import type { TensorType } from '../../../src/model/types.ts'

export type MetadataEntry =
  | { key: string; type: 'u32' | 'f32'; value: number }
  | { key: string; type: 'bool'; value: boolean }
  | { key: string; type: 'string'; value: string }
  | { key: string; type: 'strings'; value: readonly string[] }
  | { key: string; type: 'f32s' | 'i32s'; value: readonly number[] }

export interface GgufTensorSpec {
  name: string
  type: TensorType
  /** Outermost first. */
  shape: readonly number[]
  bytes: Uint8Array
  /** Within the data; default: behind the one before. */
  offset?: number
  typeId?: number
}

export interface GgufSpec {
  metadata: readonly MetadataEntry[]
  tensors: readonly GgufTensorSpec[]
  magic?: string
  version?: number
  tensorCount?: bigint
  keyCount?: bigint
  /** Bytes that replace the metadata's end: a claim of one's own. */
  extra?: Uint8Array
}

const ALIGNMENT = 32

export class ByteWriter {
  #parts: Buffer[] = []

  raw(bytes: Uint8Array): this {
    this.#parts.push(Buffer.from(bytes))
    return this
  }
  u32(value: number): this {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(value >>> 0)
    return this.raw(bytes)
  }
  f32(value: number): this {
    const bytes = Buffer.alloc(4)
    bytes.writeFloatLE(value)
    return this.raw(bytes)
  }
  u64(value: bigint | number): this {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)))
    return this.raw(bytes)
  }
  string(value: string): this {
    const bytes = Buffer.from(value)
    return this.u64(bytes.byteLength).raw(bytes)
  }
  get length(): number {
    return this.#parts.reduce((sum, part) => sum + part.byteLength, 0)
  }
  bytes(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

/** Where what follows so many bytes begins. */
export const padded = (length: number): number => Math.ceil(length / ALIGNMENT) * ALIGNMENT

/** A file whose tensors need not be in memory. */
export type GgufHeaderSpec = Omit<GgufSpec, 'tensors'> & {
  tensors: readonly (Omit<GgufTensorSpec, 'bytes'> & { bytes: { byteLength: number } })[]
}

/** Everything before the tensors' bytes, of which each is padded(). */
export function ggufHeader(spec: GgufHeaderSpec): Buffer {
  const out = new ByteWriter()
  out.raw(Buffer.from(spec.magic ?? 'GGUF')).u32(spec.version ?? 3)
  out.u64(spec.tensorCount ?? spec.tensors.length).u64(spec.keyCount ?? spec.metadata.length)
  for (const entry of spec.metadata) writeEntry(out, entry)
  if (spec.extra) out.raw(spec.extra)
  let offset = 0
  for (const tensor of spec.tensors) {
    out.string(tensor.name).u32(tensor.shape.length)
    for (const size of tensor.shape.toReversed()) out.u64(size)
    out.u32(tensor.typeId ?? TYPE_FACTS[tensor.type].ggufId).u64(tensor.offset ?? offset)
    offset += padded(tensor.bytes.byteLength)
  }
  out.raw(Buffer.alloc(padded(out.length) - out.length))
  return out.bytes()
}

export function writeGguf(spec: GgufSpec): Buffer {
  const out = new ByteWriter().raw(ggufHeader(spec))
  for (const { bytes } of spec.tensors) {
    out.raw(bytes).raw(Buffer.alloc(padded(bytes.byteLength) - bytes.byteLength))
  }
  return out.bytes()
}

function writeEntry(out: ByteWriter, entry: MetadataEntry): void {
  out.string(entry.key)
  switch (entry.type) {
    case 'u32':
      out.u32(4).u32(entry.value)
      break
    case 'f32':
      out.u32(6).f32(entry.value)
      break
    case 'bool':
      out.u32(7).raw(Uint8Array.of(entry.value ? 1 : 0))
      break
    case 'string':
      out.u32(8).string(entry.value)
      break
    case 'strings':
      out.u32(9).u32(8).u64(entry.value.length)
      for (const text of entry.value) out.string(text)
      break
    case 'f32s':
      out.u32(9).u32(6).u64(entry.value.length)
      for (const value of entry.value) out.f32(value)
      break
    case 'i32s':
      out.u32(9).u32(5).u64(entry.value.length)
      for (const value of entry.value) out.u32(value)
      break
    default:
      throw new TypeError('unknown type of metadata')
  }
}
