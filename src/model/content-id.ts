// The 32 bytes that name a model's weights: BLAKE2b-256 over its config and every tensor's hash.
// Knows no files: the same tensors under the same names have the same id in any container.
import type { ModelConfig, TensorStore } from './types.ts'

/** Hashing by pieces keeps a mapped file's pages from being held all at once. */
const PIECE_BYTES = 2 ** 24

/** The config without its name, keys sorted: a rename is no other model. */
export function canonicalConfig(config: ModelConfig): string {
  const entries = Object.entries(config).filter(([key]) => key !== 'name')
  return JSON.stringify(Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1))))
}

/** Hashes all tensors; 98 MB take about 0.1 s. */
export function contentIdOf(config: ModelConfig, tensors: TensorStore): Uint8Array {
  const whole = new Bun.CryptoHasher('blake2b256')
  whole.update(`petals-model-1\n${canonicalConfig(config)}\n`)
  for (const { name, type, shape } of tensors
    .list()
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const hasher = new Bun.CryptoHasher('blake2b256')
    const bytes = tensors.read(name)
    for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) {
      hasher.update(bytes.subarray(at, at + PIECE_BYTES))
    }
    whole.update(`${name}\n${type}\n${shape.join(',')}\n${hasher.digest('hex')}\n`)
  }
  return new Uint8Array(whole.digest())
}
