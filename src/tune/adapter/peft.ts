// Adapters as peft keeps them: a folder with adapter_config.json and adapter_model.safetensors.
// What cannot be applied is refused by name. Knows no swarm.
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { badInput, corrupt, overLimit, unsupported } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'
import { replaceFile } from '../../base/files/replace-file.ts'
import {
  adapterNumbers,
  adapterParts,
  MOST_RANK,
  targetParts,
  type AdapterPart,
  type AdapterShape
} from '../../blocks/train/adapter-shape.ts'
import type { ModelConfig } from '../../model/types.ts'
import { readPeftFacts, type PeftFacts } from './peft-facts.ts'
import { fileRows, keyOf, moduleOf, placeOf } from './peft-names.ts'
import { readTensors, safetensors, type FloatTensor } from './safetensors-file.ts'

export interface Adapter {
  readonly shape: AdapterShape
  /** As adapter-shape.ts says how they lie, of all blocks. */
  readonly values: Float32Array
}

/** A matrix that tells classes apart, and their names. */
export interface Classes {
  readonly labels: readonly string[]
  /** (classes, hiddenSize) */
  readonly score: Float32Array
}

export interface PeftContent {
  readonly adapter: Adapter
  /** Where others find the model. */
  readonly base: string
  /** The scale is alpha / sqrt(rank). Default: alpha / rank. */
  readonly isRankStable?: boolean | undefined
  /** What it was trained with; it changes nothing afterwards. Default 0. */
  readonly dropout?: number | undefined
  /** Of a model that tells classes apart. */
  readonly classes?: Classes | undefined
}

const CONFIG = 'adapter_config.json'
const WEIGHTS = 'adapter_model.safetensors'
/** Names of classes, as a list. */
const LABELS = 'labels.json'
const SCORE = 'score'
const SCORE_KEY = 'base_model.model.score.weight'
const MOST_LABELS_BYTES = 2 ** 20
/** Beside the matrices: names and shapes, and modules that are kept whole. */
const OTHER_BYTES = 2 ** 26

/** Writes an adapter's folder, each file as a whole. @throws what the file system says */
export async function writePeft(
  folder: string,
  config: ModelConfig,
  { adapter, base, isRankStable = false, dropout = 0, classes }: PeftContent
): Promise<void> {
  const { rank, scale, targets } = adapter.shape
  const facts = {
    peft_type: 'LORA',
    task_type: classes === undefined ? 'CAUSAL_LM' : 'SEQ_CLS',
    base_model_name_or_path: base,
    bias: 'none',
    // Matrices of GPT-2 are turned in transformers.
    fan_in_fan_out: config.family === 'gpt2',
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: scale * (isRankStable ? Math.sqrt(rank) : rank),
    lora_dropout: dropout,
    ...(classes === undefined ? {} : { modules_to_save: [SCORE] }),
    r: rank,
    target_modules: targetNames(adapterParts(config), targets),
    use_rslora: isRankStable
  }
  const tensors = [...tensorsOf(config, adapter)]
  if (classes !== undefined) {
    const shape = [classes.labels.length, config.hiddenSize]
    tensors.push({ name: SCORE_KEY, shape, values: classes.score })
    // peft leaves their names to the model's own config.
    await replaceFile(join(folder, LABELS), `${JSON.stringify(classes.labels)}\n`)
  }
  await replaceFile(join(folder, WEIGHTS), safetensors(tensors))
  await replaceFile(join(folder, CONFIG), `${JSON.stringify(facts, undefined, 2)}\n`)
}

/** Last words of targets where these say enough, since that is how others write them. */
function targetNames(parts: readonly AdapterPart[], targets: readonly string[]): string[] {
  const last = (target: string): string => target.slice(target.lastIndexOf('.') + 1)
  const names = targets.map((target) => {
    const alike = parts.filter((part) => last(part.target) === last(target))
    return alike.every((part) => targets.includes(part.target)) ? last(target) : target
  })
  return [...new Set(names)]
}

function* tensorsOf(config: ModelConfig, { shape, values }: Adapter): Generator<FloatTensor> {
  const { rank } = shape
  const parts = targetParts(config, shape).map((part) => ({ part, rows: fileRows(config, part) }))
  let at = 0
  for (let block = 0; block < config.blockCount; block++) {
    for (const { part, rows } of parts) {
      const { target, inputs, outputs } = part
      const a = values.subarray(at, (at += rank * inputs))
      const b = values.subarray(at, (at += outputs * rank))
      const turned = rows === undefined ? b : new Float32Array(b.length)
      for (const [row, fileRow] of rows?.entries() ?? []) {
        turned.set(b.subarray(row * rank, (row + 1) * rank), fileRow * rank)
      }
      const place = { block, target }
      yield { name: keyOf(config, { ...place, matrix: 'A' }), shape: [rank, inputs], values: a }
      yield {
        name: keyOf(config, { ...place, matrix: 'B' }),
        shape: [outputs, rank],
        values: turned
      }
    }
  }
}

/**
 * Matrices of different ranks and factors get one: smaller ones are filled up with zeros, and B is
 * scaled.
 * @throws AppError NOT_FOUND, CORRUPT, UNSUPPORTED for what cannot be applied, LIMIT
 */
export async function readPeft(folder: string, config: ModelConfig): Promise<Adapter> {
  const { adapter, module } = await readParts(folder, config)
  if (module === undefined) return adapter
  throw unsupported(`The adapter in '${folder}' cannot be used: 'modules_to_save' has '${module}'`)
}

/** The same of a model that tells classes apart. @throws as readPeft() */
export async function readClassifier(
  folder: string,
  config: ModelConfig
): Promise<{ readonly adapter: Adapter; readonly classes: Classes }> {
  const { adapter, score } = await readParts(folder, config)
  if (score === undefined) {
    throw corrupt(`The adapter in '${folder}' cannot be used: it lacks '${SCORE_KEY}'`)
  }
  const [count = 0, width] = score.shape
  if (score.shape.length !== 2 || count < 1 || width !== config.hiddenSize) {
    throw badInput(
      `The adapter in '${folder}' cannot be used: '${SCORE_KEY}' is ${score.shape.join(' x ')}`
    )
  }
  const labels = await readLabels(join(folder, LABELS), count)
  return { adapter, classes: { labels, score: score.values } }
}

/** Without a file of names, classes are called by number, as transformers does. */
async function readLabels(path: string, count: number): Promise<string[]> {
  const file = Bun.file(path)
  if (!(await file.exists())) return Array.from({ length: count }, (_, i) => `LABEL_${i}`)
  const text = await file.slice(0, MOST_LABELS_BYTES).text()
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // Told below.
  }
  if (Array.isArray(value) && value.length === count) return value.map(String)
  throw corrupt(`'${path}' does not name ${count} classes`)
}

async function readParts(
  folder: string,
  config: ModelConfig
): Promise<{ adapter: Adapter; score: FloatTensor | undefined; module: string | undefined }> {
  const facts = await readPeftFacts(join(folder, CONFIG))
  const path = join(folder, WEIGHTS)
  const { tensors } = readTensors(await readBounded(path, config), path)
  const score = tensors.get(SCORE_KEY)
  const [module] = facts.saved
  if (module !== undefined) tensors.delete(SCORE_KEY)
  const found = new MatricesOfBlocks(config, tensors, folder)
  const [first] = found.all
  if (first === undefined) {
    throw corrupt(`The adapter in '${folder}' cannot be used: it has no matrices`)
  }
  const targets = adapterParts(config).flatMap(({ target }) =>
    found.all.some((one) => one.part.target === target) ? [target] : []
  )
  const rank = Math.max(...found.all.map((one) => one.rank))
  const scale = facts.scaleOf(first.module, first.rank)
  const shape = { rank, scale, targets }
  const numbers = adapterNumbers(config, shape, { start: 0, end: config.blockCount })
  const values = new Float32Array(numbers)
  let at = 0
  for (let block = 0; block < config.blockCount; block++) {
    for (const part of targetParts(config, shape)) {
      const one = found.of(block, part, facts)
      if (one !== undefined) lay(one, { values, at, rank, scale, facts, config })
      at += rank * (part.inputs + part.outputs)
    }
  }
  if (!values.every(Number.isFinite) || score?.values.every(Number.isFinite) === false) {
    throw corrupt(`The adapter in '${folder}' cannot be used: it has values that are no numbers`)
  }
  return { adapter: { shape, values }, score, module }
}

/** Lays both matrices of one product where they belong. */
function lay(
  { part, module, rank: own, a, b }: Matrices,
  into: {
    values: Float32Array
    at: number
    rank: number
    scale: number
    facts: PeftFacts
    config: ModelConfig
  }
): void {
  const { values, at, rank, scale, facts, config } = into
  values.set(a, at)
  const first = at + rank * part.inputs
  const rows = fileRows(config, part)
  const ownScale = facts.scaleOf(module, own)
  const factor = ownScale === scale ? 1 : ownScale / scale
  for (let row = 0; row < part.outputs; row++) {
    const from = (rows?.[row] ?? row) * own
    for (let i = 0; i < own; i++) values[first + row * rank + i] = (b[from + i] ?? 0) * factor
  }
}

interface Matrices {
  readonly part: AdapterPart
  readonly block: number
  /** Its name in transformers' model. */
  readonly module: string
  readonly rank: number
  /** (rank, inputs) and (outputs, rank), the rows of B in the file's order. */
  readonly a: Float32Array
  readonly b: Float32Array
}

/** The tensors of a file by what they add to. */
class MatricesOfBlocks {
  readonly all: readonly Matrices[]
  readonly #config: ModelConfig
  readonly #folder: string

  /** @throws AppError CORRUPT, BAD_INPUT, UNSUPPORTED */
  constructor(config: ModelConfig, tensors: ReadonlyMap<string, FloatTensor>, folder: string) {
    this.#config = config
    this.#folder = folder
    const parts = adapterParts(config)
    const places = [...tensors].map(([key, tensor]) => {
      const place = placeOf(config, key)
      const part = parts.find(({ target }) => target === place?.target)
      if (place === undefined || part === undefined || place.block >= config.blockCount) {
        throw unsupported(`The adapter in '${folder}' cannot be used: '${key}' cannot be applied`)
      }
      return { ...place, key, part, tensor }
    })
    const others = new Map(
      places.flatMap((one) => (one.matrix === 'B' ? [[idOf(one), one] as const] : []))
    )
    this.all = places.flatMap((one) => {
      if (one.matrix === 'B') return []
      const other = others.get(idOf(one))
      if (other === undefined) throw this.#lacks(keyOf(config, { ...one, matrix: 'B' }))
      others.delete(idOf(one))
      const { block, part } = one
      const [rank = 0] = one.tensor.shape
      if (rank < 1 || rank > MOST_RANK) {
        throw badInput(
          `The adapter in '${folder}' cannot be used: '${one.key}' has rank ${rank}, and 1 to ` +
            `${MOST_RANK} can be`
        )
      }
      this.#requireShape(one.key, one.tensor, [rank, part.inputs])
      this.#requireShape(other.key, other.tensor, [part.outputs, rank])
      const [a, b] = [one.tensor.values, other.tensor.values]
      return [{ part, block, module: moduleOf(config, one), rank, a, b }]
    })
    const [alone] = others.values()
    if (alone !== undefined) throw this.#lacks(keyOf(config, { ...alone, matrix: 'A' }))
  }

  /** The matrices of one product. @throws AppError CORRUPT if they must be there and are not */
  of(block: number, part: AdapterPart, facts: PeftFacts): Matrices | undefined {
    const found = this.all.find((one) => one.block === block && one.part.target === part.target)
    const place = { block, target: part.target, matrix: 'A' } as const
    if (found === undefined && facts.isTarget(moduleOf(this.#config, place), block) === true) {
      throw this.#lacks(keyOf(this.#config, place))
    }
    return found
  }

  #requireShape(key: string, { shape }: FloatTensor, [rows, columns]: [number, number]): void {
    if (shape.length === 2 && shape[0] === rows && shape[1] === columns) return
    throw badInput(
      `The adapter in '${this.#folder}' cannot be used: '${key}' is ${shape.join(' x ')} and the ` +
        `model needs ${rows} x ${columns}`
    )
  }

  #lacks(key: string): Error {
    return corrupt(`The adapter in '${this.#folder}' cannot be used: it lacks '${key}'`)
  }
}

function idOf({ block, target }: { block: number; target: string }): string {
  return `${block} ${target}`
}

/** A file of no more bytes than the largest adapter of the model has. */
async function readBounded(path: string, config: ModelConfig): Promise<Uint8Array> {
  const targets = adapterParts(config).map(({ target }) => target)
  const shape = { rank: MOST_RANK, scale: 1, targets }
  const most = 4 * adapterNumbers(config, shape, { start: 0, end: config.blockCount }) + OTHER_BYTES
  try {
    const { size } = await stat(path)
    if (size > most) {
      throw overLimit(
        `'${path}' cannot be used: it has ${size} bytes, and no adapter of the model has ` +
          `more than ${most}`
      )
    }
    return new Uint8Array(await readFile(path))
  } catch (cause) {
    throw fileError(`'${path}' cannot be read`, cause)
  }
}
