// Fetches the start of a remote weight file, as much as its header needs: that is enough to open a
// model. A GGUF's header does not tell its length and contains the vocabulary, so it is fetched in
// growing steps.
import { AppError, corrupt, toAppError } from '../../base/errors.ts'
import { forgetChunkFile } from '../store/chunk-file.ts'
import { fetchRanges } from './fetch-ranges.ts'
import type { FetchRangesOptions, RemoteFile } from './fetch-options.ts'
import { parseGgufHeader } from '../formats/gguf-header.ts'
import { AbsentBytes, openMappedFile } from '../formats/mapped-file.ts'
import { parseSafetensors } from '../formats/safetensors.ts'

export interface FetchHeaderOptions extends FetchRangesOptions {
  /** First part of a GGUF to fetch, bytes. Default 1 MiB, enough for small vocabularies. */
  headerBytes?: number
}

const HEADER_BYTES = 2 ** 20
const GROWTH = 4

/**
 * @throws AppError as fetchRanges, and CORRUPT if what was fetched is no header; it is then removed
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

/** How many bytes an incomplete header needs; undefined if it is complete. */
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
