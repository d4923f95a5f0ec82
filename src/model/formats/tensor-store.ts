// Tensors by canonical name over mapped files, with rows in canonical order. Knows no file formats:
// gguf.ts, safetensors.ts and llama2c.ts say where the bytes are.
import { corrupt, internal, notFound } from '../../base/errors.ts'
import type { RowOrder } from '../families/facts.ts'
import type { MappedFile } from './mapped-file.ts'
import { orderRows } from './row-order.ts'
import type { TensorInfo, TensorStore } from '../types.ts'

/** Where a tensor is, and how its rows must be reordered. */
export interface TensorEntry {
  readonly info: TensorInfo
  readonly file: MappedFile
  readonly offset: number
  /** Order of the rows in the file; undefined if canonical. */
  readonly order?: RowOrder | undefined
}

/** A store that knows where each tensor is. */
export interface PlacedTensors extends TensorStore {
  /** Files with tensors, complete or fetched in chunks. */
  readonly files: readonly MappedFile[]
  /** @throws AppError NOT_FOUND */
  place(name: string): TensorEntry
}

/**
 * A store over `entries`. It closes `files` when it is closed.
 * @throws AppError CORRUPT if a name occurs twice.
 */
export function createTensorStore(
  entries: Iterable<TensorEntry>,
  files: readonly MappedFile[]
): PlacedTensors {
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
  const present = (name: string): TensorEntry => {
    const entry = find(name)
    if (entry.file.has(entry.offset, entry.info.sizeBytes)) return entry
    throw internal(
      `Tensor '${name}' cannot be read: it was not fetched, Model.ensure() comes first`
    )
  }
  const read = (name: string): Uint8Array => {
    const { info, file, offset, order } = present(name)
    const bytes = file.bytes(offset, info.sizeBytes)
    if (order === undefined) return bytes
    const [rows = 0, columns = 1] = info.shape
    return orderRows(bytes, order, { rows, columns })
  }
  return {
    files,
    place: find,
    list: () => infos,
    info: (name) => find(name).info,
    has: (name) => byName.has(name),
    read,
    readRows(name, first, count) {
      const { info, file, offset, order } = present(name)
      const rows = info.shape[0] ?? 0
      if (!(first >= 0 && count >= 0 && first + count <= rows)) {
        throw new RangeError(
          `Rows ${first} to ${first + count} are not within the ${rows} of '${name}'`
        )
      }
      const size = info.sizeBytes / rows
      if (order !== undefined) return read(name).subarray(first * size, (first + count) * size)
      return file.bytes(offset + first * size, count * size)
    },
    release() {
      for (const file of files) file.release()
    },
    close() {
      for (const file of files) file.close()
    }
  }
}
