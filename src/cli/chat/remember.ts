// Remembers the model used last, so that `petals chat "summarise"` needs no name.
import { mkdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { replaceFile } from '../../base/files/replace-file.ts'
import { findAlias } from '../../model/aliases.ts'
import type { Context } from '../context.ts'
import { isThere } from './target.ts'

const MAX_NAME_LENGTH = 4096

/**
 * Remembers a model's name, or its absolute path. It is no error if the folder cannot be written.
 */
export async function rememberModel(context: Context, name: string): Promise<void> {
  try {
    await mkdir(context.paths.data, { recursive: true, mode: 0o700 })
    await replaceFile(join(context.paths.data, 'last-model'), await lastingName(name))
  } catch (error) {
    context.log.debug(`The model's name was not remembered: ${String(error)}`)
  }
}

/** A name that is valid in every folder. */
async function lastingName(name: string): Promise<string> {
  if (findAlias(name)) return name
  return (await isThere(name)) ? resolve(name) : name
}

/** PETALS_MODEL, else the model used last. */
export async function defaultModel(context: Context): Promise<string | undefined> {
  const named = context.env['PETALS_MODEL']
  if (named) return named
  const text = await readFile(join(context.paths.data, 'last-model'), 'utf8').catch(() => '')
  return text.trim().slice(0, MAX_NAME_LENGTH) || undefined
}
