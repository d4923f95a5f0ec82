// The 32 bytes that name a model's weights: BLAKE2b-256 over its facts and the SHA-256 of each
// weight file.
//
// Files and not tensors, because a server that has fetched only its own blocks must get the same id
// as one that has everything. What all of them know is the SHA-256 of a whole file that the hub
// tells (over TLS) before a byte is read; a peer with the whole file computes it. So a file on this
// disk and the same file on any hub have the same id, and other containers of the same tensors have
// another. A peer with parts of a file believes the hub until its file is complete and checked
// (chunk-file.ts). One that lies serves false blocks under a true id, which no id could prevent.
// For the same reason the id does not include a root of chunk hashes (manifest.ts): a peer with
// some chunks cannot know the hashes of the others. Facts that only some models have are left out
// for the others, so that new kinds of facts do not change existing ids.
import type { ModelConfig, WeightFile } from '../types.ts'

/** Hashing in pieces keeps memory small and the event loop responsive. */
const PIECE_BYTES = 2 ** 23

interface HasFiles {
  readonly files: readonly WeightFile[]
}

/** The config without its name, keys sorted: renaming does not make another model. */
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

/** Known ids of open models. */
const known = new WeakMap<object, Uint8Array>()

/** Sets an id that identify.ts found out, which saves contentIdOf the hashing. */
export function setContentId(tensors: object, id: Uint8Array): void {
  known.set(tensors, id)
}

/** The id, if it is known. */
export function knownContentId(tensors: object): Uint8Array | undefined {
  return known.get(tensors)
}

/** Hashes all files, in one go, unless the id is known; 98 MB take 0.1 to 0.2 s. */
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

/** SHA-256 of a whole file, piece by piece: yields how many bytes were hashed, returns the hash. */
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
