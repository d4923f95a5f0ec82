// Creates a model from what a format's reader found, and checks that it is consistent. All readers
// end here.
import { toHex } from '../base/bytes.ts'
import { notFound } from '../base/errors.ts'
import type { ByteRange } from './store/chunk-map.ts'
import { contentIdOf, knownContentId } from './store/content-id.ts'
import { checkConfig, checkTensors } from './families-check.ts'
import type { PlacedTensors } from './formats/tensor-store.ts'
import type { EnsureOptions, Model, ModelConfig, ModelLocation, TokenizerSpec } from './types.ts'

/** Fetches parts of files that come in chunks; remote-files.ts implements it for hubs. */
export interface RangeFetcher {
  fetch(wanted: readonly WantedRanges[], options: EnsureOptions): Promise<void>
}

export interface WantedRanges {
  readonly path: string
  readonly ranges: readonly ByteRange[]
}

export interface ModelParts {
  config: ModelConfig
  location: ModelLocation
  tensors: PlacedTensors
  /** Only on the thread that fetches; other threads find what it has fetched. */
  fetcher?: RangeFetcher | undefined
  /** Called once, on first use; a compute worker never uses it. */
  tokenizer: () => TokenizerSpec
  chatTemplate: () => string | undefined
}

/** @throws AppError CORRUPT, UNSUPPORTED; the tensors are then closed. */
export function createModel(parts: ModelParts): Model {
  const { location, tensors } = parts
  try {
    const config = checkConfig(parts.config)
    checkTensors(config, tensors)
    let tokenizer: TokenizerSpec | undefined
    return {
      config,
      get location() {
        const id = knownContentId(tensors)
        return id === undefined ? location : { ...location, contentId: toHex(id) }
      },
      tensors,
      files: tensors.files,
      get tokenizer() {
        tokenizer ??= parts.tokenizer()
        return tokenizer
      },
      get chatTemplate() {
        return parts.chatTemplate()
      },
      get contentId() {
        return contentIdOf(config, tensors)
      },
      missingBytes: (names) => missingBytes(tensors, names),
      ensure: (names, options = {}) => ensure(parts, names, options),
      close: () => tensors.close()
    }
  } catch (error) {
    tensors.close()
    throw error
  }
}

/** Ranges of missing tensors, by file; whole files if every tensor is wanted. */
function wantedOf(tensors: PlacedTensors, names: readonly string[]): WantedRanges[] {
  const all = new Set(names).size === tensors.list().length
  const byFile = new Map<string, WantedRanges & { ranges: ByteRange[] }>()
  for (const name of names) {
    const { file, offset, info } = tensors.place(name)
    if (file.claimedSha256 === undefined || (!all && file.has(offset, info.sizeBytes))) continue
    const wanted = byFile.get(file.path) ?? { path: file.path, ranges: [] }
    byFile.set(file.path, wanted)
    if (!all) wanted.ranges.push({ start: offset, end: offset + info.sizeBytes })
    else wanted.ranges = [{ start: 0, end: file.sizeBytes }]
  }
  return [...byFile.values()]
}

function missingBytes(tensors: PlacedTensors, names: readonly string[]): number {
  const places = [...new Set(names)].map((name) => tensors.place(name))
  const missing = places.filter(({ file, offset, info }) => !file.has(offset, info.sizeBytes))
  return missing.reduce((sum, { info }) => sum + info.sizeBytes, 0)
}

async function ensure(
  parts: ModelParts,
  names: readonly string[],
  options: EnsureOptions
): Promise<void> {
  const { tensors, fetcher } = parts
  const wanted = wantedOf(tensors, names)
  if (wanted.length === 0) return
  if (!fetcher) throw notFound(`'${wanted[0]?.path}' is not whole, and nobody here can fetch it`)
  await fetcher.fetch(wanted, options)
  for (const file of tensors.files) file.refresh()
}

/** A name without escape sequences, which a file's author may have put into it. */
export function cleanName(name: string): string {
  return name
    .replaceAll(/[\p{Cc}\p{Cf}]/gu, '')
    .trim()
    .slice(0, 128)
}
