// The beginning of a remote weight file, as far as its header goes: that is all it takes to open a
// model. A GGUF's header has no length but its end, and a large vocabulary in it, so it is fetched
// in growing parts.
import { AppError, corrupt, toAppError } from '../../base/errors.ts'
import { forgetChunkFile } from '../store/chunk-file.ts'
import { fetchRanges } from './fetch-ranges.ts'
import type { FetchRangesOptions, RemoteFile } from './fetch-options.ts'
import { parseGgufHeader } from '../formats/gguf-header.ts'
import { AbsentBytes, openMappedFile } from '../formats/mapped-file.ts'
import { parseSafetensors } from '../formats/safetensors.ts'

export interface FetchHeaderOptions extends FetchRangesOptions {
  /** Of the first look at a GGUF. Default 1 MiB, which holds small vocabularies. */
  headerBytes?: number
}

const HEADER_BYTES = 2 ** 20
const GROWTH = 4

/**
 * @throws AppError as fetchRanges, and CORRUPT when what came is no header; nothing is left of it
 * then
 */
export async function fetchHeader(
  remote: RemoteFile,
  kind: 'gguf' | 'safetensors',
  options: FetchHeaderOptions
): Promise<void> {
  const { headerBytes = HEADER_BYTES } = options
  let end = Math.min(kind === 'gguf' ? headerBytes : 8, remote.sizeBytes)
  for (;;) {
    await fetchRanges(remote, [{ start: 0, end }], options)
    const neededBytes = await headerNeeds(remote, kind)
    if (neededBytes === undefined) return
    const grown = kind === 'gguf' ? Math.max(neededBytes, end * GROWTH) : neededBytes
    end = Math.min(grown, remote.sizeBytes)
  }
}

/** How many bytes a header asks for that is not whole; undefined when it is. */
async function headerNeeds(
  remote: RemoteFile,
  kind: 'gguf' | 'safetensors'
): Promise<number | undefined> {
  const file = openMappedFile(remote.path)
  try {
    if (kind === 'gguf') parseGgufHeader(file)
    else parseSafetensors(file)
    return undefined
  } catch (error) {
    if (error instanceof AbsentBytes) return error.neededBytes
    const { code, message } = toAppError(error)
    if (code !== 'CORRUPT' || file.claimedSha256 === undefined) throw error
    // Wrong bytes must not be found again at the next start.
    await forgetChunkFile(remote.path)
    throw error instanceof AppError && error.hint !== undefined
      ? error
      : corrupt(message, {
          hint: 'What was fetched of it is thrown away: try again, or another source',
          cause: error
        })
  } finally {
    file.close()
  }
}
