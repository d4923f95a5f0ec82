// Names and row orders of adapters' matrices as peft keeps them, which are those of the modules of
// transformers. Knows no values.
import type { AdapterPart } from '../../blocks/train/adapter-shape.ts'
import { canonicalHubName, factsOf, orderOf } from '../../model/families.ts'
import { orderRows } from '../../model/formats/row-order.ts'
import type { ModelConfig } from '../../model/types.ts'

/** Which of an adapter's matrices a tensor is. */
export interface AdapterPlace {
  readonly block: number
  /** Canonical name inside the block. */
  readonly target: string
  readonly matrix: 'A' | 'B'
}

const PREFIX = 'base_model.model.'
const KEY = /^base_model\.model\.(.+)\.lora_([AB])(?:\.default)?\.weight$/
const BLOCK = /^model\.layers\.(\d+)\.(.+)\.weight$/

/** The place of a tensor of an adapter's file; undefined if it is none of a block's matrices. */
export function placeOf(config: ModelConfig, key: string): AdapterPlace | undefined {
  const [, module = '', matrix] = KEY.exec(key) ?? []
  const hub = canonicalHubName(factsOf(config.family), config, `${module}.weight`)
  const [, block, target] = BLOCK.exec(hub?.name ?? '') ?? []
  if (block === undefined || target === undefined) return undefined
  return { block: Number(block), target, matrix: matrix === 'A' ? 'A' : 'B' }
}

/** The name of what a matrix adds to in transformers' model. */
export function moduleOf(
  { family }: ModelConfig,
  { block, target }: Pick<AdapterPlace, 'block' | 'target'>
): string {
  return `${factsOf(family).hubBlocks ?? 'model.layers.'}${block}.${target}`
}

/** The key of a matrix in an adapter's file. */
export function keyOf(config: ModelConfig, place: AdapterPlace): string {
  return `${PREFIX}${moduleOf(config, place)}.lora_${place.matrix}.weight`
}

/** For each row of a target's product the row of the file that it is; undefined: the same. */
export function fileRows(
  config: ModelConfig,
  { target, outputs }: AdapterPart
): Uint32Array | undefined {
  const part = factsOf(config.family)
    .block(config)
    .find(({ name }) => name === target)
  const order = orderOf(part, 'hub', config, false)
  // peft keeps B as (outputs, rank) also where transformers' matrices are turned.
  if (order === undefined || order.kind === 'transposed') return undefined
  const rows = Uint32Array.from({ length: outputs }, (_, row) => row)
  const ordered = orderRows(new Uint8Array(rows.buffer), order, { rows: outputs, columns: 1 })
  return new Uint32Array(ordered.buffer)
}
