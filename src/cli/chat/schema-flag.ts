// --schema: a JSON schema that answers follow, from a file, as JSON, or in the short form
// 'name, age int'.
import { readFile, stat } from 'node:fs/promises'
import { badInput } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'
import { lookUp } from '../../base/look-up.ts'
import { checkConstraint, type Constraint } from '../../library/grammar/constraint.ts'

const MOST_BYTES = 512 * 1024
const TYPES: Readonly<Record<string, string>> = {
  str: 'string',
  string: 'string',
  int: 'integer',
  integer: 'integer',
  float: 'number',
  number: 'number',
  bool: 'boolean',
  boolean: 'boolean'
}
const FIELD = /^([\p{L}_][\p{L}\p{N}_-]*)(?:\s+(\w+))?(?:\s*:\s*(.+))?$/u

/**
 * What answers are held to; undefined without a schema.
 * @throws AppError BAD_INPUT for no schema, or what cannot be held
 */
export async function schemaConstraint(given: string | undefined): Promise<Constraint | undefined> {
  if (given === undefined) return undefined
  const constraint: Constraint = { kind: 'schema', schema: await readSchema(given) }
  checkConstraint(constraint)
  return constraint
}

/** @throws AppError BAD_INPUT, UNAVAILABLE for a file that cannot be read */
export async function readSchema(given: string): Promise<unknown> {
  const text = given.trim()
  if (text === '') throw badInput("--schema cannot be ''", { hint: 'Leave it out for any answer' })
  if (/^[{[]/.test(text)) return parse(text, '--schema')
  const facts = await stat(text).catch(() => undefined)
  if (facts?.isFile()) return parse(await schemaFile(text, facts.size), `'${text}'`)
  return shortSchema(text)
}

async function schemaFile(path: string, size: number): Promise<string> {
  if (size > MOST_BYTES) throw badInput(`The schema in '${path}' is over ${MOST_BYTES} bytes`)
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw fileError(`The schema in '${path}' cannot be read`, error)
  }
}

function parse(text: string, where: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (error) {
    throw badInput(`The schema of ${where} is no JSON: ${(error as Error).message.slice(0, 200)}`)
  }
}

/** `name, age int, bio: what they did`: an object with these properties, texts by default. */
export function shortSchema(text: string): object {
  const fields = new Map<string, object>()
  for (const field of text.split(text.includes('\n') ? '\n' : ',')) {
    if (field.trim() === '') continue
    const [, name, word = 'str', description] = FIELD.exec(field.trim()) ?? []
    const type = lookUp(TYPES, word)
    if (name === undefined || type === undefined) {
      throw badInput(`--schema has the field '${field.trim()}', which cannot be read`, {
        hint: "Give a file, JSON, or names with types: 'name, age int, score float, ok bool'"
      })
    }
    fields.set(name, { type, ...(description === undefined ? {} : { description }) })
  }
  return {
    type: 'object',
    properties: Object.fromEntries(fields),
    required: [...fields.keys()],
    additionalProperties: false
  }
}
