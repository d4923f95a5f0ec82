// Tensors by canonical name over mapped files; moves q and k rows from interleaved to half-split RoPE order.
// Knows no file formats: gguf.ts, safetensors.ts and llama2c.ts say where the bytes lie.
import { corrupt, notFound } from '../base/errors.ts'
import type { MappedFile } from './mapped-file.ts'
import type { TensorInfo, TensorStore } from './types.ts'

/** Where a tensor lies, and whether its rows are to be reordered. */
export interface TensorEntry {
  readonly info: TensorInfo
  readonly file: MappedFile
  readonly offset: number
  /** Heads whose rows are interleaved in the file: 0 for none. */
  readonly interleavedHeads: number
}

/** A store over `entries`; closes `files` with itself. @throws AppError CORRUPT on a name given twice. */
export function createTensorStore(
  entries: Iterable<TensorEntry>,
  files: readonly MappedFile[]
): TensorStore {
  const byName = new Map<string, TensorEntry>()
  for (const entry of entries) {
    if (byName.has(entry.info.name)) {
      throw corrupt(`The model cannot be opened: tensor '${entry.info.name}' is there twice`)
    }
    byName.set(entry.info.name, entry)
  }
  const infos = [...byName.values()].map((entry) => entry.info)
  const find = (name: string): TensorEntry => {
    const entry = byName.get(name)
    if (!entry) throw notFound(`The model has no tensor '${name}'`)
    return entry
  }
  const read = (name: string): Uint8Array => {
    const { info, file, offset, interleavedHeads } = find(name)
    const bytes = file.bytes(offset, info.sizeBytes)
    if (interleavedHeads === 0) return bytes
    return halfSplitRows(bytes, info.shape[0] ?? 0, interleavedHeads)
  }
  return {
    list: () => infos,
    info: (name) => find(name).info,
    has: (name) => byName.has(name),
    read,
    readRows(name, first, count) {
      const { info, file, offset, interleavedHeads } = find(name)
      const rows = info.shape[0] ?? 0
      if (!(first >= 0 && count >= 0 && first + count <= rows)) {
        throw new RangeError(
          `Rows ${first} to ${first + count} are not within the ${rows} of '${name}'`
        )
      }
      const size = info.sizeBytes / rows
      if (interleavedHeads > 0) return read(name).subarray(first * size, (first + count) * size)
      return file.bytes(offset + first * size, count * size)
    },
    close() {
      for (const file of files) file.close()
    }
  }
}

/**
 * Copies rows so that each head's pairs (2i, 2i+1) become (i, i + half): [half, 2] -> [2, half].
 * Rows move whole, so any element type works; a bias is a matrix with rows of one value.
 */
export function halfSplitRows(bytes: Uint8Array, rows: number, heads: number): Uint8Array {
  const rowSize = bytes.byteLength / rows
  const headRows = rows / heads
  const half = headRows / 2
  if (!Number.isInteger(rowSize) || !Number.isInteger(half)) {
    throw corrupt(`Rows cannot be reordered: ${rows} rows are no multiple of ${heads} even heads`)
  }
  const out = new Uint8Array(bytes.byteLength)
  for (let head = 0; head < heads; head++) {
    for (let i = 0; i < headRows; i++) {
      const to = (head * headRows + i) * rowSize
      const source = i < half ? 2 * i : 2 * (i - half) + 1
      const from = (head * headRows + source) * rowSize
      out.set(bytes.subarray(from, from + rowSize), to)
    }
  }
  return out
}
