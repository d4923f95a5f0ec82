// Files of training data as records: JSON lines, CSV (also with tabs or semicolons) and Parquet.
// What cannot be read of a record is its fault, told later with all others. Knows no examples.
import { badInput } from '../../base/errors.ts'
import { csvRecords } from './csv.ts'
import { jsonRecords } from './json-lines.ts'
import { parquetRecords } from './parquet.ts'
import type { DataFile } from './record.ts'

/** Parquet's files begin and end with this. */
const PARQUET = 'PAR1'

/** By the file's name and its first bytes. @throws AppError BAD_INPUT */
export async function readRecords(bytes: Uint8Array, name: string): Promise<DataFile> {
  const start = new TextDecoder('latin1').decode(bytes.subarray(0, PARQUET.length))
  if (start === PARQUET) return { unit: 'row', records: await parquetRecords(bytes, name) }
  if (/\.parquet$/i.test(name)) throw badInput(`'${name}' cannot be read: it is no Parquet file`)
  const text = textOf(bytes, name)
  const isCsv = /\.[ct]sv$/i.test(name) || (!isJsonName(name) && !/^\s*[{[]/.test(text))
  return { unit: 'line', records: isCsv ? csvRecords(text, name) : jsonRecords(text) }
}

function isJsonName(name: string): boolean {
  return /\.(jsonl?|ndjson)$/i.test(name)
}

function textOf(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw badInput(`'${name}' cannot be read: it is no text in UTF-8`, { cause })
  }
}
