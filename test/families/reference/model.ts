// What a reference computes: rows that go into each block, and logits, from config.json and the
// hub's tensors.
import type { Row, Weight } from './ops.ts'

export type Config = Readonly<Record<string, unknown>>

export interface HubModel {
  readonly config: Config
  readonly tensors: ReadonlyMap<string, Weight>
}

export interface Answer {
  /** [block][position] (hidden) */
  readonly hidden: readonly (readonly Row[])[]
  /** [position] (vocab) */
  readonly logits: readonly Row[]
}

/** A tensor by name; a reference asks for none that is not there, unless it may be missing. */
export function weight(model: HubModel, name: string): Weight {
  const found = model.tensors.get(name)
  if (found === undefined) throw new TypeError(`the model has no '${name}'`)
  return found
}

export function numberOf(config: Config, key: string): number {
  const value = config[key]
  if (typeof value !== 'number') throw new TypeError(`config has no '${key}'`)
  return value
}

/** Undefined when absent or null. */
export function perhaps(config: Config, key: string): number | undefined {
  const value = config[key]
  return typeof value === 'number' ? value : undefined
}

export function embedding(matrix: Weight, id: number, scale = 1): Row {
  const width = matrix.shape[1]!
  return Float64Array.from(
    matrix.values.subarray(id * width, (id + 1) * width),
    (value) => value * scale
  )
}
