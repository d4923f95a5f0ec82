// Comma separated values as records; the first line names the fields. Knows no examples.
import { parse, type CsvError } from 'csv-parse/sync'
import { badInput } from '../../base/errors.ts'
import type { DataRecord } from './record.ts'

/** Characters of one record, so that a quote that is never closed does not take the whole file. */
const MOST_RECORD_CHARACTERS = 2 ** 24
const DELIMITERS = [',', ';', '\t']

/** @throws AppError BAD_INPUT without a line that names fields */
export function csvRecords(text: string, name: string): DataRecord[] {
  let broken: number | undefined
  const rows = parse(text, {
    delimiter: delimiterOf(text),
    info: true,
    relax_column_count: true,
    skip_empty_lines: true,
    skip_records_with_error: true,
    max_record_size: MOST_RECORD_CHARACTERS,
    on_skip(error: CsvError | undefined) {
      broken ??= lineOf(error)
    }
  }) as unknown as { record: string[]; info: { lines: number } }[]
  const [head, ...others] = rows
  if (head === undefined) throw badInput(`'${name}' cannot be read: it has no line of names`)
  const names = head.record.map((field) => field.trim())
  const records = others.map(({ record, info }) => {
    const breaks = record.reduce((sum, field) => sum + field.split('\n').length - 1, 0)
    return recordOf(record, names, info.lines - breaks)
  })
  if (broken === undefined) return records
  // What is a field behind a wrong quote is anybody's guess.
  const line = broken
  const fault = 'no CSV: its quotes are wrong, and what follows cannot be told apart'
  return [...records.filter((one) => one.line < line), { line, fault }]
}

function recordOf(record: readonly string[], names: readonly string[], line: number): DataRecord {
  if (record.length !== names.length) {
    return { line, fault: `${record.length} fields, and the first line names ${names.length}` }
  }
  return { line, fields: Object.fromEntries(names.map((name, i) => [name, record[i]])) }
}

/** The one that the first line has most of. */
function delimiterOf(text: string): string {
  const end = text.search(/\r|\n/)
  const first = end < 0 ? text : text.slice(0, end)
  const count = (delimiter: string): number => first.split(delimiter).length
  return DELIMITERS.reduce((best, one) => (count(one) > count(best) ? one : best))
}

function lineOf(error: CsvError | undefined): number {
  const lines: unknown = error?.['lines']
  return typeof lines === 'number' ? lines : 1
}
