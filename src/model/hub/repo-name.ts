// `owner/name[@revision][:file]`: the name of a model on a hub. Knows no network.

export interface RepoName {
  /** `owner/name`. */
  readonly repo: string
  /** Branch, tag or commit. */
  readonly revision: string
  /** Which GGUF, if there are several, e.g. 'Q4_K_M' or a file's path. */
  readonly pick?: string | undefined
}

const NAME = /^([\w.-]{1,96}\/[\w.-]{1,96})(?:@([\w.\-/]{1,200}))?(?::([\w.\-/]{1,200}))?$/

/** The name's parts, or undefined if it is no repository name. */
export function parseRepoName(name: string): RepoName | undefined {
  const [, repo, revision = 'main', pick] = NAME.exec(name) ?? []
  if (repo === undefined) return undefined
  const parts = [...repo.split('/'), ...revision.split('/')]
  if (parts.some((part) => /^\.*$/.test(part))) return undefined
  return { repo, revision, pick }
}

export function repoText({ repo, revision, pick }: RepoName): string {
  return `${repo}${revision === 'main' ? '' : `@${revision}`}${pick === undefined ? '' : `:${pick}`}`
}
