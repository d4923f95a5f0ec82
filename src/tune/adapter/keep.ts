// What a training has learnt as files of a folder: an adapter as others read it, or prompts in a
// file of their own. Knows no optimiser.
import { join } from 'node:path'
import { fileError } from '../../base/files/file-error.ts'
import { replaceFile } from '../../base/files/replace-file.ts'
import type { ModelConfig } from '../../model/types.ts'
import { VALUE_NAMES, type TuneShape, type TuneValues } from '../parameters.ts'
import { writePeft } from './peft.ts'
import { safetensors } from './safetensors-file.ts'

/** What the model is called, and its content id in hex. */
export interface BaseModel {
  readonly name: string
  readonly id: string
}

/** Writes into a folder that is there. @throws AppError UNAVAILABLE, UNSUPPORTED */
export async function keepTrained(
  folder: string,
  values: TuneValues,
  of: { shape: TuneShape; config: ModelConfig; base: BaseModel }
): Promise<void> {
  const { shape, config, base } = of
  const { adapter, method, positions = 0 } = shape
  try {
    if (values.adapter !== undefined && adapter !== undefined) {
      const made = { shape: adapter, values: values.adapter }
      return await writePeft(folder, config, { adapter: made, base: base.name })
    }
    const tensors = VALUE_NAMES.flatMap((name) => {
      const list = values[name]
      return list === undefined ? [] : [{ name, shape: [list.length], values: list }]
    })
    const facts = { base: base.id, method, positions: String(positions) }
    await replaceFile(join(folder, 'prompt.safetensors'), safetensors(tensors, facts))
  } catch (cause) {
    throw fileError(`What was learnt cannot be kept in '${folder}'`, cause)
  }
}
