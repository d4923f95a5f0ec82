// Which files of a repository make a model: safetensors by their index, or one GGUF with all its
// shards. Pure functions over lists of names; folder.ts reads local folders by the same rule.
import { badInput, corrupt, notFound } from '../../base/errors.ts'
import type { ListedFile } from './hub-tree.ts'

export const INDEX = 'model.safetensors.index.json'
const MAX_FILES = 1024
/** Read beside the weights if they are there. Nothing else of a repository is ever fetched. */
export const SMALL_FILES: readonly string[] = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'chat_template.jinja',
  INDEX
]
/** Of several GGUFs of one model, the first of these: small and good enough for most users. */
const PREFERRED: readonly string[] = ['q4_k_m', 'q4_k_s', 'q4_0', 'q4_1', 'q5_k_m', 'q8_0']
const SHARD = /-(\d{5})-of-(\d{5})\.gguf$/i
/** GGUFs that are no language model: image encoders, importance matrices, adapters. */
const NO_MODEL = /(^|[-_./])(mmproj|imatrix|lora)[-_.]/i

export type Choice =
  /** A folder in the hub's layout: files at the repository's root. */
  | { readonly kind: 'folder' }
  /** Shards in order. */
  | { readonly kind: 'gguf'; readonly files: readonly ListedFile[] }

/** @throws AppError NOT_FOUND, or BAD_INPUT if several fit */
export function chooseFiles(
  files: readonly ListedFile[],
  repo: string,
  pick?: string | undefined
): Choice {
  const names = new Set(files.map((file) => file.path))
  const isFolder = names.has('config.json') && [...names].some(isRootWeights)
  if (pick === undefined && isFolder) return { kind: 'folder' }
  const models = ggufModels(files)
  const fitting = pick === undefined ? models : models.filter((model) => isPicked(model, pick))
  const [first] = fitting
  if (first && fitting.length === 1) return { kind: 'gguf', files: checkShards(first, repo) }
  const list = models.map((model) => model.name).slice(0, 12)
  if (!first) {
    if (pick !== undefined) {
      throw notFound(`'${repo}' has no GGUF '${pick}'`, { hint: `It has: ${list.join(', ')}` })
    }
    throw notFound(`'${repo}' holds no model: neither safetensors nor a GGUF`, {
      hint: 'Weights in the old .bin format must be converted first'
    })
  }
  const preferred = PREFERRED.map((quant) => fitting.filter((model) => isPicked(model, quant)))
  const [only] = pick === undefined ? (preferred.find((some) => some.length === 1) ?? []) : []
  if (only) return { kind: 'gguf', files: checkShards(only, repo) }
  throw badInput(`'${repo}' has several models${pick === undefined ? '' : ` called '${pick}'`}`, {
    hint: `Name one as ${repo}:NAME, of: ${list.join(', ')}`
  })
}

/**
 * Weight files of a folder, in order; `map` is the index's weight map.
 * @throws AppError NOT_FOUND, CORRUPT
 */
export function weightNames(
  names: readonly string[],
  where: string,
  map: () => unknown
): readonly string[] {
  const there = names.filter(isRootWeights)
  if (there.length === 0) {
    throw notFound(`'${where}' has no weights: there is no .safetensors file`, {
      hint: 'Weights in the old .bin format must be converted first'
    })
  }
  let wanted = there
  if (names.includes(INDEX)) {
    const weightMap = map()
    if (typeof weightMap !== 'object' || weightMap === null) {
      throw corrupt(`'${INDEX}' has no weight map`)
    }
    wanted = [...new Set(Object.values(weightMap).map(String))]
    for (const name of wanted) {
      if (!there.includes(name)) throw notFound(`'${where}' is not whole: '${name}' is missing`)
    }
  } else if (there.includes('model.safetensors')) {
    wanted = ['model.safetensors']
  }
  if (wanted.length > MAX_FILES) throw corrupt(`'${where}' has ${wanted.length} weight files`)
  return wanted.toSorted()
}

function isRootWeights(name: string): boolean {
  return name.endsWith('.safetensors') && !name.includes('/')
}

interface GgufModel {
  /** Path without shard number and ending. */
  readonly name: string
  readonly files: readonly ListedFile[]
}

function ggufModels(files: readonly ListedFile[]): GgufModel[] {
  const isGguf = ({ path }: ListedFile): boolean => /\.gguf$/i.test(path) && !NO_MODEL.test(path)
  const byName = Map.groupBy(files.filter(isGguf), ({ path }) =>
    path.replace(SHARD, '').replace(/\.gguf$/i, '')
  )
  return [...byName].map(([name, some]) => ({
    name,
    files: some.toSorted((a, b) => (a.path < b.path ? -1 : 1))
  }))
}

/** Whether `pick` is a part between separators, so that Q4_K is not Q4_K_M; or the whole path. */
function isPicked(model: GgufModel, pick: string): boolean {
  if (model.files.some((file) => file.path === pick)) return true
  const wanted = pick.toLowerCase()
  const name = model.name.toLowerCase()
  if (name === wanted || name.endsWith(`/${wanted}`)) return true
  const at = name.lastIndexOf(wanted)
  const isApart = (letter: string | undefined): boolean =>
    letter === undefined || /[-./]/.test(letter)
  return at >= 0 && isApart(name[at - 1]) && isApart(name[at + wanted.length])
}

function checkShards(model: GgufModel, repo: string): readonly ListedFile[] {
  const count = Number(SHARD.exec(model.files[0]?.path ?? '')?.[2] ?? 1)
  const isWhole =
    count === model.files.length &&
    (count === 1 || model.files.every((file, i) => Number(SHARD.exec(file.path)?.[1]) === i + 1))
  if (isWhole && count <= MAX_FILES) return model.files
  throw notFound(
    `'${repo}' is not whole: '${model.name}' has ${model.files.length} of ${count} shards`
  )
}
