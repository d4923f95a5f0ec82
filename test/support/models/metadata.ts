// A GGUF's metadata without a file.
import { Metadata } from '../../../src/model/formats/gguf-metadata.ts'
import type { GgufArray, GgufValue } from '../../../src/model/formats/gguf-header.ts'

export type PlainValue = string | number | boolean | readonly string[] | readonly number[]

export function metadataOf(values: Readonly<Record<string, PlainValue | GgufArray>>): Metadata {
  const metadata = new Map(Object.entries(values).map(([key, value]) => [key, valueOf(value)]))
  return new Metadata({ metadata, tensors: [] })
}

function valueOf(value: PlainValue | GgufArray): GgufValue {
  if (!Array.isArray(value)) return value as GgufValue
  const list = value as readonly (string | number)[]
  return {
    kind: 'array',
    count: list.length,
    strings: () => list.map(String),
    numbers: () => list.map(Number)
  }
}
