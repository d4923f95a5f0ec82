// The model used last, so that `petals chat "summarise"` needs no name.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Context } from '../context.ts'

const MAX_NAME_LENGTH = 4096

/** Remembers a model's name or path; a folder that cannot be written is no reason to fail. */
export async function rememberModel(context: Context, name: string): Promise<void> {
  try {
    await mkdir(context.paths.data, { recursive: true, mode: 0o700 })
    await writeFile(join(context.paths.data, 'last-model'), name, { mode: 0o600 })
  } catch (error) {
    context.log.debug(`The model's name was not remembered: ${String(error)}`)
  }
}

/** PETALS_MODEL, else the model used last. */
export async function defaultModel(context: Context): Promise<string | undefined> {
  const named = context.env['PETALS_MODEL']
  if (named) return named
  const text = await readFile(join(context.paths.data, 'last-model'), 'utf8').catch(() => '')
  return text.trim().slice(0, MAX_NAME_LENGTH) || undefined
}
