// An adapter's files from a hub's repository, whole: peft's two, or a GGUF. Knows no matrices.
import { stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { corrupt, notFound, overLimit, unsupported, type AppError } from '../../base/errors.ts'
import { downloadFile } from '../../model/hub/download.ts'
import type { FetchOptions } from '../../model/hub/fetch-file.ts'
import { hubHeaders, hubUrl } from '../../model/hub/hub.ts'
import { listRepo, type ListedFile } from '../../model/hub/hub-tree.ts'
import { repoText, type RepoName } from '../../model/hub/repo-name.ts'

const CONFIG = 'adapter_config.json'
const WEIGHTS = 'adapter_model.safetensors'
/** Rank 256 of all matrices of a 405B model. */
const MOST_BYTES = 2 ** 35

/**
 * The folder of peft's files, or the path of a GGUF, fetched unless they are here.
 * @throws AppError NOT_FOUND, UNSUPPORTED, DENIED, UNAVAILABLE, CORRUPT, CANCELLED
 */
export async function fetchAdapterRepo(name: RepoName, options: FetchOptions): Promise<string> {
  const { fetch, clock, signal, download, hub } = options
  const http = { ...(fetch ? { fetch } : {}), ...(clock ? { clock } : {}), signal, ...download }
  const listed = await listRepo(name.repo, name.revision, { ...http, hub })
  const files = choose(name, listed)
  const last = files.at(-1)
  if (last === undefined) throw notFound(`'${repoText(name)}' has no adapter`)
  if (files.some(({ sizeBytes }) => sizeBytes > MOST_BYTES)) {
    throw overLimit(`'${repoText(name)}' cannot be used: its files are too large for an adapter`)
  }
  if (!/^[0-9a-f]{40,64}$/.test(last.hash)) throw corrupt(`'${repoText(name)}' names no good hash`)
  const folder = join(options.cacheDir, 'adapters', last.hash)
  for (const { path: remote, sizeBytes, hash } of files) {
    const path = join(folder, basename(remote))
    const found = await stat(path).catch(() => undefined)
    if (found?.size === sizeBytes) continue
    await downloadFile({
      url: hubUrl(name.repo, name.revision, remote, hub),
      path,
      hash,
      sizeBytes,
      headers: hubHeaders(hub),
      ...http,
      onprogress: ({ doneBytes, totalBytes }) =>
        options.onprogress?.({ what: repoText(name), doneBytes, totalBytes })
    })
  }
  return files.length > 1 ? folder : join(folder, basename(last.path))
}

/** The weights are last. */
function choose(name: RepoName, listed: readonly ListedFile[]): readonly ListedFile[] {
  const at = (path: string): ListedFile | undefined => listed.find((file) => file.path === path)
  const [config, weights] = [at(CONFIG), at(WEIGHTS)]
  if (name.pick === undefined && config !== undefined && weights !== undefined) {
    return [config, weights]
  }
  const ggufs = listed.filter(({ path }) => path.endsWith('.gguf'))
  const picked = ggufs.filter(({ path }) => name.pick === undefined || path.includes(name.pick))
  if (picked.length === 1) return picked
  if (picked.length > 1) throw several(name, picked)
  if (config !== undefined) {
    throw unsupported(`'${repoText(name)}' cannot be used: it has no '${WEIGHTS}'`, {
      hint: 'Matrices that are kept as a pickle are not read: that would run code of their maker'
    })
  }
  throw notFound(`'${repoText(name)}' has no adapter`, {
    hint: `It would have ${CONFIG} and ${WEIGHTS}, or a GGUF of the type 'adapter'`
  })
}

function several(name: RepoName, files: readonly ListedFile[]): AppError {
  const names = files.slice(0, 8).map(({ path }) => path)
  return notFound(`'${repoText(name)}' has several adapters`, {
    hint: `Name one, e.g. ${name.repo}:${names[0] ?? ''}; there are ${names.join(', ')}`
  })
}
