// Lines of JSON as records. Knows no examples.
import type { DataRecord } from './record.ts'

/** Empty lines are skipped. */
export function jsonRecords(text: string): DataRecord[] {
  return text.split('\n').flatMap((own, index): DataRecord[] => {
    if (own.trim() === '') return []
    const line = index + 1
    let value: unknown
    try {
      value = JSON.parse(own)
    } catch {
      return [{ line, fault: 'no JSON' }]
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return [{ line, fault: 'no JSON object' }]
    }
    return [{ line, fields: value as Record<string, unknown> }]
  })
}
