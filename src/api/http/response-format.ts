// What requests say an answer must be: OpenAI's response_format, the Responses interface's
// text.format, and the fields that llama-server and vLLM have for the same.
import type { Constraint } from '../../library/grammar/constraint.ts'
import { RequestError } from './errors.ts'
import { asObject, type Fields, type Json } from './fields.ts'

const MOST_CHOICES = 10_000

/** @throws RequestError when several are given, or one of no known kind */
export function readResponseFormat(fields: Fields): Constraint | undefined {
  const guided = fields.object('structured_outputs') ?? fields
  const found = [
    formatOf(fields.object('response_format')?.body, 'response_format'),
    formatOf(fields.object('text')?.object('format')?.body, 'text.format'),
    formatOf(fields.object('output_config')?.object('format')?.body, 'output_config.format'),
    schemaOf(fields.raw('json_schema')),
    schemaOf(fields.raw('guided_json')),
    schemaOf(fields.object('structured_outputs')?.raw('json')),
    patternOf(guided.string('regex') ?? fields.string('guided_regex')),
    choiceOf(guided.strings('choice', MOST_CHOICES)),
    choiceOf(fields.strings('guided_choice', MOST_CHOICES))
  ].filter((one) => one !== undefined)
  if (found.length > 1) {
    throw new RequestError('The answer can be held to one form only', { param: 'response_format' })
  }
  fields.refuse('grammar', 'use response_format')
  fields.refuse('guided_grammar', 'use response_format')
  return found[0]
}

function formatOf(format: Json | undefined, param: string): Constraint | undefined {
  if (format === undefined) return undefined
  const type = format['type']
  switch (type) {
    case 'text':
      return undefined
    case 'json_object':
      // llama-server takes a schema here.
      return schemaOf(format['schema']) ?? { kind: 'json' }
    case 'json_schema': {
      const schema = nested(format['json_schema'], param)?.['schema'] ?? format['schema']
      if (schema !== undefined) return { kind: 'schema', schema }
      throw new RequestError(`'${param}' has no schema`, { param })
    }
    case 'regex':
      return patternOf(String(format['pattern'] ?? ''))
    default:
      throw new RequestError(
        `'${param}.type' cannot be '${String(type)}': text, json_object, json_schema or regex can`,
        { param }
      )
  }
}

function nested(value: unknown, param: string): Json | undefined {
  return value === undefined ? undefined : asObject(value, `${param}.json_schema`)
}

function schemaOf(schema: unknown): Constraint | undefined {
  return schema === undefined || schema === null ? undefined : { kind: 'schema', schema }
}

function patternOf(pattern: string | undefined): Constraint | undefined {
  return pattern === undefined ? undefined : { kind: 'regex', pattern }
}

function choiceOf(choices: readonly string[]): Constraint | undefined {
  return choices.length === 0 ? undefined : { kind: 'choice', choices }
}
