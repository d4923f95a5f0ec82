// A prompt with places for values: {{name}}. Knows no models.
import { readFileSync } from 'node:fs'
import { badInput, notFound } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'

export type Fields = Readonly<Record<string, unknown>>

/** A place; `\{{` stands for the marks themselves. */
const PLACE = /\\\{\{|\{\{\s*([\p{L}_][\p{L}\p{N}_.-]*)\s*\}\}/gu

/** Names of the fields that a template has places for. */
export function fieldsOf(template: string): string[] {
  const names = [...template.matchAll(PLACE)].flatMap(([, name]) =>
    name === undefined ? [] : name
  )
  return [...new Set(names)]
}

/**
 * The template with values in its places: texts as they are, all else as JSON. `a.b` is the field b
 * of the field a.
 * @throws AppError BAD_INPUT for a field that is not there
 */
export function fillTemplate(template: string, fields: Fields): string {
  return template.replaceAll(PLACE, (_all, name: string | undefined) => {
    if (name === undefined) return '{{'
    const value = valueOf(fields, name)
    if (value === undefined) {
      const names = Object.keys(fields).slice(0, 12).join(', ')
      throw badInput(`The template wants '${name}', which is not given`, {
        hint: names === '' ? 'Nothing is given' : `Given are: ${names}`
      })
    }
    return typeof value === 'string' ? value : JSON.stringify(value)
  })
}

function valueOf(fields: Fields, name: string): unknown {
  if (Object.hasOwn(fields, name)) return fields[name]
  let value: unknown = fields
  for (const part of name.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined
    value = (value as Fields)[part]
  }
  return value
}

/** What a text gives a template: the fields of a JSON object, else all of it as `input`. */
export function fieldsIn(text: string): Fields {
  if (text.trimStart().startsWith('{')) {
    try {
      return { input: text, ...(JSON.parse(text) as Fields) }
    } catch {
      // It is a text that begins so.
    }
  }
  return { input: text }
}

/** @throws AppError NOT_FOUND or as it cannot be read */
export function readTemplate(path: string | undefined): string | undefined {
  if (path === undefined) return undefined
  try {
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') throw notFound(`There is no file '${path}'`)
    throw fileError(`The template in '${path}' cannot be read`, error)
  }
}
