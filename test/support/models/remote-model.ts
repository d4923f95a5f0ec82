// stories260K as repositories of a hub, and what a test opens of them: chunks small enough that a
// model of 1 MiB is worth fetching in parts.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { AppError } from '../../../src/base/errors.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { findModel, type ResolveOptions } from '../../../src/model/resolve.ts'
import type { Model } from '../../../src/model/types.ts'
import { writeGguf } from './gguf-writer.ts'
import { storiesGguf } from './stories-gguf.ts'
import { storiesLocation, writeHubFolder } from './stories.ts'
import { tempFolder } from '../temp-folder.ts'

export const CHUNK = 4096

export async function storiesGgufBytes(): Promise<Uint8Array> {
  return new Uint8Array(writeGguf(storiesGguf(await openModel(storiesLocation))))
}

/** The files of a hub folder with its tensors in `shards` files. */
export async function storiesFolderFiles(shards: number): Promise<Record<string, Uint8Array>> {
  await using folder = await tempFolder()
  writeHubFolder(await openModel(storiesLocation), folder.path, shards)
  return Object.fromEntries(
    readdirSync(folder.path).map((name) => [
      name,
      new Uint8Array(readFileSync(join(folder.path, name)))
    ])
  )
}

/** What a test gives to findModel: nothing waits, parts and chunks are small. */
export function remoteOptions(
  folder: { path: string },
  hub: { url: string },
  change: Partial<ResolveOptions> = {}
): ResolveOptions {
  return {
    cacheDir: join(folder.path, 'cache'),
    download: { backoffsMs: [0, 0] },
    ranges: { chunkBytes: CHUNK, partBytes: 16 * CHUNK, connections: 3, headerBytes: CHUNK },
    ...change,
    hub: { endpoint: hub.url, ...change.hub }
  }
}

export async function openRemote(name: string, options: ResolveOptions): Promise<Model> {
  const { location, fetcher } = await findModel(name, options)
  return await openModel(location, fetcher)
}

export const failure = (promise: Promise<unknown>): Promise<AppError> =>
  promise.then(
    () => Promise.reject(new Error('nothing was thrown')),
    (error: AppError) => error
  )

/**
 * stories260K as a GGUF whose blocks lie `gapBytes` apart and more, as those of a large model do:
 * chunks of the usual size tell them apart then.
 */
export async function spreadGgufBytes(gapBytes: number): Promise<Uint8Array> {
  const spec = storiesGguf(await openModel(storiesLocation))
  const blockOf = (name: string): number => Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? -1)
  const sorted = spec.tensors.toSorted((a, b) => blockOf(a.name) - blockOf(b.name))
  let offset = 0
  const tensors = sorted.map((tensor, i) => {
    if (i > 0 && blockOf(sorted[i - 1]!.name) !== blockOf(tensor.name)) offset += gapBytes
    const placed = { ...tensor, offset }
    offset += Math.ceil(tensor.bytes.byteLength / 32) * 32
    return placed
  })
  const dense = writeGguf({ ...spec, tensors })
  const padded = tensors.map(({ bytes }) => Math.ceil(bytes.byteLength / 32) * 32)
  const headerBytes = dense.byteLength - padded.reduce((sum, size) => sum + size, 0)
  const spread = new Uint8Array(headerBytes + offset)
  spread.set(dense.subarray(0, headerBytes))
  for (const tensor of tensors) spread.set(tensor.bytes, headerBytes + tensor.offset)
  return spread
}
