// Packs native libraries for the executable and writes the module that names them.
// The counterpart of src/base/files/native-files.ts, which unpacks them.
import { existsSync, mkdirSync, renameSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Embedded } from '../../src/base/embedded.ts'
import { contentHash, type NativeSet } from '../../src/base/files/native-files.ts'
import { readBuildInfo } from '../../src/base/version.ts'

/** Level 10: 45.8 MB become 15.1 MB in 1.2 s; level 19 takes 21 s for another 1.5 MB. */
const ZSTD_LEVEL = 10

/** A file on its way into the executable. */
export interface Native {
  readonly name: string
  readonly bytes: Uint8Array
}

/** Reads a file; `change` makes other bytes of it. */
export async function nativeFile(
  path: string,
  change: (bytes: Uint8Array) => Uint8Array = (bytes) => bytes
): Promise<Native> {
  return { name: basename(path), bytes: change(await Bun.file(path).bytes()) }
}

/** Compresses files into `cache`, once for each content, and describes them as one set. */
export async function packNativeSet(natives: readonly Native[], cache: string): Promise<NativeSet> {
  mkdirSync(cache, { recursive: true })
  const identity = new Bun.CryptoHasher('sha256')
  const files = []
  for (const { name, bytes } of natives) {
    const digest = new Bun.CryptoHasher('sha256').update(bytes).digest('hex')
    identity.update(`${name}\0${digest}\0`)
    const packed = join(cache, `${digest}.zst`)
    if (!existsSync(packed)) {
      const temporary = `${packed}.${process.pid}.tmp`
      await Bun.write(temporary, Bun.zstdCompressSync(bytes, { level: ZSTD_LEVEL }))
      renameSync(temporary, packed)
    }
    files.push({ name, path: packed, sizeBytes: bytes.byteLength, hash: contentHash(bytes) })
  }
  return { id: identity.digest('hex').slice(0, 32), files }
}

/**
 * Source of a module with the exports of src/base/embedded.ts, where `path`s are embedded files.
 */
export function embeddedModule(target: string, sets: Omit<Embedded, 'build'>): string {
  const all = [...(sets.onnxruntime?.files ?? []), ...sets.sodium.files, ...sets.kernels.files]
  const imports = all.map(
    (file, index) => `import file${index} from ${JSON.stringify(file.path)} with { type: 'file' }`
  )
  const info = readBuildInfo(target)
  const build = sets.onnxruntime ? info : { ...info, onnxruntime: undefined }
  const content: Embedded = { build, ...sets }
  // The paths of this machine become the names under which the bundler embeds the files.
  const literal = JSON.stringify(content, (key, value: unknown) =>
    key === 'path' ? `file${all.findIndex((file) => file.path === value)}` : value
  ).replaceAll(/"path":"(file\d+)"/g, '"path":$1')
  return `${imports.join('\n')}\nexport const embedded = ${literal}\n`
}
