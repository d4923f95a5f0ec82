// Adapters as peft keeps them: a folder with adapter_config.json and adapter_model.safetensors.
// What cannot be applied is refused by name. Knows no swarm.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { badInput, corrupt, unsupported } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'
import { replaceFile } from '../../base/files/replace-file.ts'
import {
  adapterParts,
  targetParts,
  type AdapterPart,
  type AdapterShape
} from '../../blocks/train/adapter-shape.ts'
import type { ModelConfig } from '../../model/types.ts'
import { readTensors, safetensors } from './safetensors-file.ts'

export interface Adapter {
  readonly shape: AdapterShape
  /** As adapter-shape.ts says how they lie, of all blocks. */
  readonly values: Float32Array
}

const CONFIG = 'adapter_config.json'
const WEIGHTS = 'adapter_model.safetensors'
const PREFIX = 'base_model.model.'

/** Families whose blocks have other names on the hub than here, or other orders of rows. */
const OTHER_NAMES = new Set(['bloom', 'falcon', 'gpt2'])

/** @throws AppError UNSUPPORTED for a family whose adapters cannot be kept yet */
export function requireKeepable({ family }: ModelConfig): void {
  if (!OTHER_NAMES.has(family)) return
  throw unsupported(`Adapters of '${family}' models cannot be kept yet`, {
    hint: 'Train a model of another family'
  })
}

/** Writes an adapter's folder, each file as a whole. @throws AppError UNAVAILABLE, UNSUPPORTED */
export async function writePeft(
  folder: string,
  config: ModelConfig,
  { adapter, base }: { adapter: Adapter; base: string }
): Promise<void> {
  requireKeepable(config)
  const { shape, values } = adapter
  const facts = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: base,
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: shape.scale * shape.rank,
    lora_dropout: 0,
    r: shape.rank,
    target_modules: shape.targets.map((target) => target.slice(target.lastIndexOf('.') + 1)),
    use_rslora: false
  }
  const tensors = [...tensorsOf(config, shape)].map(({ name, rows, columns, at }) => ({
    name,
    shape: [rows, columns],
    values: values.subarray(at, at + rows * columns)
  }))
  await replaceFile(join(folder, WEIGHTS), safetensors(tensors))
  await replaceFile(join(folder, CONFIG), `${JSON.stringify(facts, undefined, 2)}\n`)
}

/** @throws AppError NOT_FOUND, CORRUPT, UNSUPPORTED for what cannot be applied */
export async function readPeft(folder: string, config: ModelConfig): Promise<Adapter> {
  requireKeepable(config)
  const facts = await readFacts(join(folder, CONFIG))
  const shape = shapeOf(facts, config, folder)
  const file = new Uint8Array(await read(join(folder, WEIGHTS)))
  const { tensors: found } = readTensors(file, join(folder, WEIGHTS))
  const parts = [...tensorsOf(config, shape)]
  const last = parts.at(-1)
  const values = new Float32Array(last === undefined ? 0 : last.at + last.rows * last.columns)
  for (const { name, rows, columns, at } of parts) {
    const tensor = found.get(name)
    if (tensor === undefined)
      throw corrupt(`The adapter in '${folder}' cannot be used: it lacks '${name}'`)
    if (tensor.shape[0] !== rows || tensor.shape[1] !== columns || tensor.shape.length !== 2) {
      throw badInput(
        `The adapter in '${folder}' cannot be used: '${name}' is ${tensor.shape.join(' x ')} and ` +
          `the model needs ${rows} x ${columns}`
      )
    }
    found.delete(name)
    values.set(tensor.values, at)
  }
  const [extra] = found.keys()
  if (extra !== undefined) {
    throw unsupported(`The adapter in '${folder}' cannot be used: '${extra}' cannot be applied`)
  }
  if (!values.every(Number.isFinite)) {
    throw corrupt(`The adapter in '${folder}' cannot be used: it has values that are no numbers`)
  }
  return { shape, values }
}

interface Place {
  readonly name: string
  readonly rows: number
  readonly columns: number
  /** Where its numbers begin among the adapter's. */
  readonly at: number
}

function* tensorsOf(config: ModelConfig, shape: AdapterShape): Generator<Place> {
  let at = 0
  const parts = targetParts(config, shape)
  const { rank } = shape
  for (let block = 0; block < config.blockCount; block++) {
    for (const { target, inputs, outputs } of parts) {
      const name = `${PREFIX}model.layers.${block}.${target}`
      yield { name: `${name}.lora_A.weight`, rows: rank, columns: inputs, at }
      at += rank * inputs
      yield { name: `${name}.lora_B.weight`, rows: outputs, columns: rank, at }
      at += outputs * rank
    }
  }
}

type Facts = Readonly<Record<string, unknown>>

async function readFacts(path: string): Promise<Facts> {
  let value: unknown
  try {
    value = JSON.parse((await read(path)).toString('utf8'))
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause
    throw corrupt(`'${path}' cannot be read: it is no JSON`, { cause })
  }
  if (typeof value !== 'object' || value === null) throw corrupt(`'${path}' is no JSON object`)
  return value as Facts
}

/** What the file says that changes results, and that we do not do. */
const REFUSED: readonly (readonly [key: string, allowed: (value: unknown) => boolean])[] = [
  ['peft_type', (value) => value === 'LORA'],
  ['bias', (value) => value === undefined || value === 'none'],
  ['use_dora', (value) => !value],
  ['fan_in_fan_out', (value) => !value],
  ['modules_to_save', isNothing],
  ['layers_to_transform', isNothing],
  ['layer_replication', isNothing],
  ['rank_pattern', isNothing],
  ['alpha_pattern', isNothing],
  ['trainable_token_indices', isNothing],
  ['megatron_config', isNothing]
]

function isNothing(value: unknown): boolean {
  if (value === undefined || value === null || value === false) return true
  return typeof value === 'object' && Object.keys(value).length === 0
}

function shapeOf(facts: Facts, config: ModelConfig, folder: string): AdapterShape {
  const bad = REFUSED.find(([key, allowed]) => !allowed(facts[key]))
  if (bad !== undefined) {
    const [key] = bad
    throw unsupported(
      `The adapter in '${folder}' cannot be used: '${key}' is ${JSON.stringify(facts[key])}`
    )
  }
  const { r: rank, lora_alpha: alpha, target_modules: modules } = facts
  if (typeof rank !== 'number' || typeof alpha !== 'number') {
    throw corrupt(`The adapter in '${folder}' cannot be used: its rank or alpha is no number`)
  }
  const scale = facts['use_rslora'] === true ? alpha / Math.sqrt(rank) : alpha / rank
  const targets = targetsOf(modules, adapterParts(config), folder)
  const shape = { rank, scale, targets }
  targetParts(config, shape)
  return shape
}

function targetsOf(modules: unknown, parts: readonly AdapterPart[], folder: string): string[] {
  if (modules === 'all-linear') return parts.map(({ target }) => target)
  if (!Array.isArray(modules)) {
    throw unsupported(`The adapter in '${folder}' cannot be used: its targets are no list of names`)
  }
  const names = modules.map(String)
  const isNamed = (target: string): boolean =>
    names.some((name) => target === name || target.endsWith(`.${name}`))
  const unknown = names.find(
    (name) => !parts.some(({ target }) => target === name || target.endsWith(`.${name}`))
  )
  if (unknown !== undefined) {
    throw unsupported(
      `The adapter in '${folder}' cannot be used: the model's blocks have no '${unknown}'`
    )
  }
  return parts.map(({ target }) => target).filter(isNamed)
}

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (cause) {
    throw fileError(`'${path}' cannot be read`, cause)
  }
}
