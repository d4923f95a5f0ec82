// What peft's adapter_config.json says of an adapter: what it adds to and how much it counts. What
// changes results and cannot be applied is refused by name. Knows no matrices.
import { readFile } from 'node:fs/promises'
import { corrupt, unsupported, type AppError } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'

type Facts = Readonly<Record<string, unknown>>

export interface PeftFacts {
  /**
   * Factor of a module's product by its matrices' rank. `module` is its name in transformers'
   * model.
   */
  scaleOf(module: string, rank: number): number
  /** Whether a module of a block must have matrices; undefined when the file does not tell. */
  isTarget(module: string, block: number): boolean | undefined
  /** Names of modules that are kept whole, e.g. 'score'. */
  readonly saved: readonly string[]
  readonly task: string | undefined
}

/** What changes results, and which values of it change nothing. */
const REFUSED: readonly (readonly [key: string, allowed: (value: unknown) => boolean])[] = [
  ['peft_type', (value) => value === 'LORA'],
  ['bias', (value) => value === undefined || value === 'none'],
  ['use_dora', isNothing],
  ['lora_bias', isNothing],
  ['use_qalora', isNothing],
  ['use_bdlora', isNothing],
  ['kasa_config', isNothing],
  ['monteclora_config', isNothing],
  ['layer_replication', isNothing],
  ['target_parameters', isNothing],
  ['trainable_token_indices', isNothing],
  ['alora_invocation_tokens', isNothing],
  ['arrow_config', isNothing],
  ['megatron_config', isNothing],
  // Others change the model's own weights, too.
  [
    'init_lora_weights',
    (value) => isNothing(value) || ['true', 'gaussian', 'eva', 'orthogonal'].includes(String(value))
  ]
]
/** Patterns are expressions in peft; only plain names of modules are understood. */
const PLAIN_NAME = /^\^?[\w.]{1,256}$/

function isNothing(value: unknown): boolean {
  if (value === undefined || value === null || value === false) return true
  return typeof value === 'object' && Object.keys(value).length === 0
}

/** @throws AppError NOT_FOUND, CORRUPT, UNSUPPORTED for what cannot be applied */
export async function readPeftFacts(path: string): Promise<PeftFacts> {
  const facts = await readObject(path)
  const refuse = (why: string): AppError =>
    unsupported(`The adapter of '${path}' cannot be used: ${why}`)
  const bad = REFUSED.find(([key, allowed]) => !allowed(facts[key]))
  if (bad !== undefined) {
    const [key] = bad
    throw refuse(`'${key}' is ${JSON.stringify(facts[key])}`)
  }
  const alphas = patternsOf(facts['alpha_pattern'], 'alpha_pattern', refuse)
  const { r, lora_alpha: alpha, task_type: task } = facts
  if (typeof r !== 'number' || typeof alpha !== 'number') {
    throw corrupt(`The adapter of '${path}' cannot be used: its rank or alpha is no number`)
  }
  const isRankStable = facts['use_rslora'] === true
  return {
    task: typeof task === 'string' ? task : undefined,
    saved: namesOf(facts['modules_to_save']) ?? [],
    scaleOf(module, rank) {
      const own = alphas.find(([name]) => isNamed(module, name))?.[1] ?? alpha
      return own / (isRankStable ? Math.sqrt(rank) : rank)
    },
    isTarget: targetsOf(facts, refuse)
  }
}

type Refuse = (why: string) => AppError

function targetsOf(facts: Facts, refuse: Refuse): PeftFacts['isTarget'] {
  const { target_modules: targets, exclude_modules: excluded, layers_to_transform: layers } = facts
  const blocks = typeof layers === 'number' ? [layers] : layers
  if (!isNothing(blocks) && !Array.isArray(blocks)) {
    throw refuse(`'layers_to_transform' is ${JSON.stringify(layers)}`)
  }
  const names = namesOf(targets)
  // 'all-linear' or an expression: the matrices that are there tell.
  if (names === undefined && typeof targets !== 'string') throw refuse('it names no targets')
  const others = namesOf(excluded)
  const isKnown = names !== undefined && (isNothing(excluded) || others !== undefined)
  return (module, block) => {
    if (!isKnown) return undefined
    if (Array.isArray(blocks) && blocks.length > 0 && !blocks.includes(block)) return false
    if (others?.some((name) => isNamed(module, name))) return false
    return names.some((name) => isNamed(module, name))
  }
}

function namesOf(value: unknown): string[] | undefined {
  return Array.isArray(value) ? value.map(String) : undefined
}

function patternsOf(value: unknown, key: string, refuse: Refuse): [name: string, alpha: number][] {
  if (isNothing(value)) return []
  if (typeof value !== 'object' || value === null) throw refuse(`'${key}' is no object`)
  return Object.entries(value).map(([name, alpha]: [string, unknown]) => {
    if (!PLAIN_NAME.test(name) || typeof alpha !== 'number') {
      throw refuse(`'${key}' has '${name.slice(0, 80)}'`)
    }
    return [name, alpha]
  })
}

/** As peft compares: the whole name, or its end behind a dot. */
function isNamed(module: string, name: string): boolean {
  if (name.startsWith('^')) return module === name.slice(1)
  return module === name || module.endsWith(`.${name}`)
}

async function readObject(path: string): Promise<Facts> {
  let value: unknown
  try {
    value = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw fileError(`'${path}' cannot be read`, cause)
    throw corrupt(`'${path}' cannot be read: it is no JSON`, { cause })
  }
  if (typeof value !== 'object' || value === null) throw corrupt(`'${path}' is no JSON object`)
  return value as Facts
}
