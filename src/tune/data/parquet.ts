// Parquet files as records. Knows no examples.
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib'
import { parquetMetadata, parquetReadObjects, snappyUncompress, type Compressors } from 'hyparquet'
import { badInput } from '../../base/errors.ts'
import type { DataRecord } from './record.ts'

/** Of what is read; more would not fit into memory as objects. */
const MOST_ROWS = 10_000_000
const MOST_BYTES = 2 ** 31
/** Of one page, whatever its header claims. */
const MOST_PAGE_BYTES = 2 ** 28
/** Fields of examples; others are not read. */
const FIELDS = new Set(['messages', 'prompt', 'completion', 'text', 'label'])

/** @throws AppError BAD_INPUT */
export async function parquetRecords(bytes: Uint8Array, name: string): Promise<DataRecord[]> {
  const file = bytes.slice().buffer
  try {
    const metadata = parquetMetadata(file)
    const size = metadata.row_groups.reduce((sum, group) => sum + Number(group.total_byte_size), 0)
    const rows = Number(metadata.num_rows)
    if (rows > MOST_ROWS || !(size <= MOST_BYTES)) throw new RangeError('it is too large')
    const columns = metadata.schema.flatMap((one) => (FIELDS.has(one.name) ? [one.name] : []))
    if (columns.length === 0) throw new TypeError(`it has no column ${[...FIELDS].join(', ')}`)
    const found = await parquetReadObjects({
      file,
      metadata,
      columns: [...new Set(columns)],
      compressors: COMPRESSORS
    })
    return found.map((fields, index) => ({ line: index + 1, fields }))
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw badInput(`'${name}' cannot be read as Parquet: ${why}`, { cause })
  }
}

const COMPRESSORS: Compressors = {
  SNAPPY(input, length) {
    const output = new Uint8Array(checked(length))
    snappyUncompress(input, output)
    return output
  },
  GZIP: (input, length) => gunzipSync(input, { maxOutputLength: checked(length) }),
  BROTLI: (input, length) => brotliDecompressSync(input, { maxOutputLength: checked(length) }),
  ZSTD: (input, length) => zstdDecompressSync(input, { maxOutputLength: checked(length) })
}

function checked(length: number): number {
  if (length >= 0 && length <= MOST_PAGE_BYTES) return length
  throw new RangeError(`a page claims ${length} bytes`)
}
