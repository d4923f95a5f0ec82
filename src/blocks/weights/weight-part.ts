// Weights that are made and kept together, as one file: a block, a table of positions, the head.
// Knows their names, their sizes and what they depend on; fill-weights.ts makes them.
import { bytesOf, toHex } from '../../base/bytes.ts'
import type { TensorSpec } from '../quantise/form.ts'
import { specBytes } from '../quantise/form.ts'

/** Kernels read whole cache lines; aligning to pages would only waste space in small models. */
export const ALIGNMENT = 64
/**
 * Increased whenever the same recipe gives other bytes, e.g. when src/kernels changes its layout.
 */
const RECIPES = 5

/** Receives weights, tensor by tensor in the part's order. */
export interface WeightSink {
  /** Starts the next tensor. The last one must be complete. */
  begin(spec: TensorSpec): void
  /** The next bytes. They may be overwritten after the call. */
  write(bytes: Uint8Array): void
}

export interface WeightPart {
  /** For people, e.g. 'block 3'. */
  readonly name: string
  readonly specs: readonly TensorSpec[]
  /**
   * Everything besides the model's content that determines the bytes: plain data, the same in every
   * process.
   */
  readonly recipe: unknown
  /**
   * Makes the weights, with pauses. May be restarted, but not run twice at once.
   * @throws AppError CORRUPT
   */
  make(sink: WeightSink): Iterable<void>
}

export interface PlacedSpec {
  readonly spec: TensorSpec
  /** Relative to the first tensor. */
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

/**
 * The key under which a part of a model's content is kept, and the table that its file must have.
 */
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
