// What a training has learnt as files of a folder: an adapter as others read it, or prompts in a
// file of their own. Knows no optimiser.
import { join } from 'node:path'
import { badInput, corrupt, unsupported } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'
import { replaceFile } from '../../base/files/replace-file.ts'
import type { ModelConfig } from '../../model/types.ts'
import { VALUE_NAMES, type TuneShape, type TuneValues } from '../parameters.ts'
import { readClassifier, writePeft } from './peft.ts'
import { readTensors, safetensors } from './safetensors-file.ts'

/** What the model is called, and its content id in hex. */
export interface BaseModel {
  readonly name: string
  readonly id: string
}

/** Where prompts are kept. */
export const PROMPTS = 'prompt.safetensors'
const MOST_PROMPT_BYTES = 2 ** 31

/** Writes into a folder that is there. @throws AppError UNAVAILABLE, UNSUPPORTED */
export async function keepTrained(
  folder: string,
  values: TuneValues,
  of: { shape: TuneShape; config: ModelConfig; base: BaseModel }
): Promise<void> {
  const { shape, config, base } = of
  const { adapter, method, positions = 0, labels, isRankStable, dropout } = shape
  try {
    if (values.adapter !== undefined && adapter !== undefined) {
      const made = { shape: adapter, values: values.adapter }
      const { score } = values
      const classes = labels && score && { labels, score }
      const content = { adapter: made, base: base.name, isRankStable, dropout, classes }
      return await writePeft(folder, config, content)
    }
    const tensors = VALUE_NAMES.flatMap((name) => {
      const list = values[name]
      return list === undefined ? [] : [{ name, shape: [list.length], values: list }]
    })
    const names = labels === undefined ? {} : { labels: JSON.stringify(labels) }
    const facts = { base: base.id, method, positions: String(positions), ...names }
    await replaceFile(join(folder, PROMPTS), safetensors(tensors, facts))
  } catch (cause) {
    throw fileError(`What was learnt cannot be kept in '${folder}'`, cause)
  }
}

/** What keepTrained() kept. */
export interface Trained {
  readonly shape: TuneShape
  readonly values: TuneValues
}

/**
 * Reads what tells classes apart: prompts, or an adapter as peft keeps it.
 * @throws AppError NOT_FOUND, CORRUPT, UNSUPPORTED for what cannot be applied, BAD_INPUT for
 * another model's
 */
export async function readTrainedClasses(
  folder: string,
  { config, base }: { config: ModelConfig; base: BaseModel }
): Promise<Trained> {
  const path = join(folder, PROMPTS)
  const file = Bun.file(path)
  if (!(await file.exists())) {
    const { adapter, classes } = await readClassifier(folder, config)
    const { shape, values } = adapter
    const { labels, score } = classes
    return { shape: { method: 'lora', adapter: shape, labels }, values: { adapter: values, score } }
  }
  if (file.size > MOST_PROMPT_BYTES) throw corrupt(`'${path}' cannot be read: it is too large`)
  const { tensors, facts } = readTensors(await file.bytes(), path)
  if (facts['base'] !== base.id) throw badInput(`'${path}' cannot be used: it is of another model`)
  const labels = labelsOf(facts['labels'], path)
  const { hiddenSize, blockCount } = config
  const positions = Number(facts['positions'])
  const list = (name: string, length: number): Float32Array => {
    const found = tensors.get(name)?.values
    if (found?.length === length && found.every(Number.isFinite)) return found
    throw corrupt(`'${path}' cannot be used: its '${name}' is not of this model`)
  }
  const isDeep = facts['method'] === 'deep-prompt'
  const rows = positions * hiddenSize
  return {
    shape: { method: isDeep ? 'deep-prompt' : 'prompt', positions, labels },
    values: {
      prompt: list('prompt', rows),
      deepPrompt: isDeep ? list('deepPrompt', blockCount * rows) : undefined,
      score: list('score', labels.length * hiddenSize)
    }
  }
}

function labelsOf(text: string | undefined, path: string): string[] {
  try {
    const value: unknown = JSON.parse(text ?? 'null')
    if (Array.isArray(value) && value.length > 0) return value.map(String)
  } catch {
    // Told below.
  }
  throw unsupported(`'${path}' cannot be used: it tells no classes apart`)
}
