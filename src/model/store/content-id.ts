// The 32 bytes that name a model's weights: BLAKE2b-256 over its facts and the SHA-256 of each
// weight file.
//
// Files and not tensors, because a server that fetched only its own blocks must come to the same id
// as one that has them all. What all of them know is what the hub says of a whole file (its
// SHA-256, over TLS) before a byte of it was read; a holder of the whole file hashes it. So a file
// on this disk and the same file on any hub have one id, and other containers of the same tensors
// have another. A partial holder believes the hub's claim until its file is whole, when it is
// checked (chunk-file.ts); one that lies serves false blocks under a true id, which no id could
// prevent. For the same reason no root of chunks' hashes (manifest.ts) is in it: who has a part
// never sees what the others hash to. Facts that only some models have are absent from the rest, so
// that learning of new ones renames no model.
import type { ModelConfig, WeightFile } from '../types.ts'

/** Hashing by pieces keeps memory small and the loop alive. */
const PIECE_BYTES = 2 ** 23

interface HasFiles {
  readonly files: readonly WeightFile[]
}

/** The config without its name, keys sorted: a rename is no other model. */
export function canonicalConfig(config: ModelConfig): string {
  const entries = Object.entries(config).filter(([key]) => key !== 'name')
  return JSON.stringify(Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1))))
}

/** `hashes` are the files' SHA-256 in lower-case hex, in any order. */
export function contentIdFrom(config: ModelConfig, hashes: readonly string[]): Uint8Array {
  const hasher = new Bun.CryptoHasher('blake2b256')
  hasher.update(`petals-model-2\n${canonicalConfig(config)}\n`)
  for (const hash of hashes.toSorted()) hasher.update(`${hash}\n`)
  return new Uint8Array(hasher.digest())
}

/** Ids that were computed or remembered, as long as their model is open. */
const known = new WeakMap<object, Uint8Array>()

/** Spares the next contentIdOf the hashing; identify.ts found the id out. */
export function setContentId(tensors: object, id: Uint8Array): void {
  known.set(tensors, id)
}

/** The id, if it was found out before. */
export function knownContentId(tensors: object): Uint8Array | undefined {
  return known.get(tensors)
}

/** Hashes all files at once when nobody did before; 98 MB take 0.1 to 0.2 s. */
export function contentIdOf(config: ModelConfig, tensors: HasFiles): Uint8Array {
  const before = known.get(tensors)
  if (before) return before
  const hashes = tensors.files.map((file) => {
    if (file.claimedSha256 !== undefined) return file.claimedSha256
    const steps = hashSteps(file)
    for (;;) {
      const step = steps.next()
      if (step.done) return step.value
    }
  })
  const id = contentIdFrom(config, hashes)
  known.set(tensors, id)
  return id
}

/** SHA-256 of a whole file, a piece a step: yields how many bytes were hashed, returns the hash. */
export function* hashSteps(file: WeightFile): Generator<number, string> {
  const hasher = new Bun.CryptoHasher('sha256')
  const piece = new Uint8Array(Math.min(PIECE_BYTES, file.sizeBytes))
  for (let at = 0; at < file.sizeBytes; at += PIECE_BYTES) {
    const part = piece.subarray(0, Math.min(PIECE_BYTES, file.sizeBytes - at))
    file.readInto(at, part)
    hasher.update(part)
    yield part.byteLength
  }
  return hasher.digest('hex')
}
