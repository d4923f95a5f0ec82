// Weights that are made together and kept together, as one file: a block, a table of positions, the
// head. Knows what they are called, how large they are and what they depend on; fill-weights.ts
// makes them.
import { bytesOf, toHex } from '../../base/bytes.ts'
import type { TensorSpec } from '../quantise/form.ts'
import { specBytes } from '../quantise/form.ts'

/** Kernels read whole cache lines; a page would only waste space in small models. */
export const ALIGNMENT = 64
/**
 * Raised whenever the same recipe comes to give other bytes, as when src/kernels packs in another
 * order.
 */
const RECIPES = 4

/** Takes weights, tensor by tensor in a part's own order. */
export interface WeightSink {
  /** Begins the next tensor; the last one must have had all its bytes. */
  begin(spec: TensorSpec): void
  /** The bytes that follow; they may be used again afterwards. */
  write(bytes: Uint8Array): void
}

export interface WeightPart {
  /** For people, e.g. 'block 3'. */
  readonly name: string
  readonly specs: readonly TensorSpec[]
  /**
   * All that decides on the bytes beside the model's content: plain data, the same in every
   * process.
   */
  readonly recipe: unknown
  /**
   * Makes them, and pauses now and then. May be begun anew, but not twice at once.
   * @throws AppError CORRUPT
   */
  make(sink: WeightSink): Iterable<void>
}

export interface PlacedSpec {
  readonly spec: TensorSpec
  /** From the first tensor on. */
  readonly offset: number
  readonly sizeBytes: number
}

/** Where each tensor of a part lies. */
export interface PartLayout {
  readonly tensors: readonly PlacedSpec[]
  readonly sizeBytes: number
}

export function layoutOf(specs: readonly TensorSpec[]): PartLayout {
  const tensors: PlacedSpec[] = []
  let sizeBytes = 0
  for (const spec of specs) {
    const size = specBytes(spec)
    tensors.push({ spec, offset: sizeBytes, sizeBytes: size })
    sizeBytes += Math.ceil(size / ALIGNMENT) * ALIGNMENT
  }
  return { tensors, sizeBytes }
}

/** A part of a model's content under what it is kept as, and the table that its file must have. */
export function partKey(
  contentId: string,
  part: Pick<WeightPart, 'specs' | 'recipe'>
): { key: Uint8Array; name: string; table: Uint8Array } {
  const table = Buffer.from(JSON.stringify(part.specs))
  const hasher = new Bun.CryptoHasher('blake2b256')
  hasher.update(`petals-weights-${RECIPES}\n${contentId}\n${JSON.stringify(part.recipe)}\n`)
  hasher.update(table)
  const key = new Uint8Array(hasher.digest())
  return { key, name: toHex(key), table: bytesOf(table) }
}
