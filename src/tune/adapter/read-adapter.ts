// Adapters of all kinds from files: peft's folder, prompts that `petals tune` keeps, a GGUF of
// llama.cpp. Knows no swarm.
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { badInput, corrupt, notFound, overLimit, unsupported } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'
import { toHex } from '../../base/bytes.ts'
import type { AdapterContent, AdapterModel } from '../../weights/adapters/adapter-pack.ts'
import { LIMITS } from '../../wire/protocol.ts'
import { readGgufLora } from './gguf-lora.ts'
import { PROMPTS } from './keep.ts'
import { readPeft } from './peft.ts'
import { readTensors } from './safetensors-file.ts'

/** @throws AppError NOT_FOUND, CORRUPT, BAD_INPUT, UNSUPPORTED for what cannot be applied */
export async function readAdapter(path: string, model: AdapterModel): Promise<AdapterContent> {
  const found = await stat(path).catch(() => undefined)
  if (found?.isFile()) return { lora: readGgufLora(path, model.config) }
  if (!found?.isDirectory()) throw notFound(`There is no adapter '${path}': no file and no folder`)
  const prompts = join(path, PROMPTS)
  const isPrompt = (await stat(prompts).catch(() => undefined))?.isFile() === true
  return isPrompt ? readPrompts(prompts, model) : { lora: await readPeft(path, model.config) }
}

async function readPrompts(
  path: string,
  { config, contentId }: AdapterModel
): Promise<AdapterContent> {
  const { hiddenSize, blockCount } = config
  const most = (1 + blockCount) * LIMITS.adapterRows * hiddenSize * 4 + 2 ** 20
  const found = await stat(path)
  if (found.size > most) throw overLimit(`'${path}' cannot be used: it is too large`)
  const file = await readFile(path).catch((cause: unknown) => {
    throw fileError(`'${path}' cannot be read`, cause)
  })
  const { tensors, facts } = readTensors(new Uint8Array(file), path)
  if (facts['base'] !== toHex(contentId)) {
    throw badInput(`The prompts in '${path}' cannot be used: they were trained on another model`)
  }
  if (facts['labels'] !== undefined) {
    throw unsupported(`The prompts in '${path}' cannot be used: they tell classes apart`)
  }
  const prompt = tensors.get('prompt')?.values
  const deepPrompt = tensors.get('deepPrompt')?.values
  if (prompt === undefined) throw corrupt(`'${path}' cannot be used: it has no prompt`)
  return { prompt, ...(deepPrompt === undefined ? {} : { deepPrompt }) }
}
