// The 32 bytes that name a model's weights: BLAKE2b-256 over its config and every tensor's hash.
// Knows no files: the same tensors under the same names have the same id in any container.
import type { ModelConfig, TensorStore } from './types.ts'

/** Hashing by pieces keeps a mapped file's pages from being held all at once, and the loop alive. */
const PIECE_BYTES = 2 ** 23

/** The config without its name, keys sorted: a rename is no other model. */
export function canonicalConfig(config: ModelConfig): string {
  const entries = Object.entries(config).filter(([key]) => key !== 'name')
  return JSON.stringify(Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1))))
}

/** Ids that were computed or remembered, as long as their model is open. */
const known = new WeakMap<TensorStore, Uint8Array>()

/** Spares the next contentIdOf the hashing; identify.ts found the id out. */
export function setContentId(tensors: TensorStore, id: Uint8Array): void {
  known.set(tensors, id)
}

/** Hashes all tensors at once when nobody did before; 98 MB take 0.1 to 0.2 s. */
export function contentIdOf(config: ModelConfig, tensors: TensorStore): Uint8Array {
  const before = known.get(tensors)
  if (before) return before
  const steps = hashSteps(config, tensors)
  for (;;) {
    const step = steps.next()
    if (step.done) {
      known.set(tensors, step.value)
      return step.value
    }
  }
}

/** The same, a piece a step: yields how many bytes were hashed, returns the id. */
export function* hashSteps(
  config: ModelConfig,
  tensors: TensorStore
): Generator<number, Uint8Array> {
  const whole = new Bun.CryptoHasher('blake2b256')
  whole.update(`petals-model-1\n${canonicalConfig(config)}\n`)
  const infos = tensors.list().toSorted((a, b) => (a.name < b.name ? -1 : 1))
  for (const { name, type, shape } of infos) {
    const hasher = new Bun.CryptoHasher('blake2b256')
    const bytes = tensors.read(name)
    for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) {
      const piece = bytes.subarray(at, at + PIECE_BYTES)
      hasher.update(piece)
      yield piece.byteLength
    }
    whole.update(`${name}\n${type}\n${shape.join(',')}\n${hasher.digest('hex')}\n`)
  }
  return new Uint8Array(whole.digest())
}
