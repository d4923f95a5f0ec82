// --schema: what it takes, and that answers follow it.
import { expect, test } from 'bun:test'
import { readSchema, schemaConstraint, shortSchema } from '../../../src/cli/chat/schema-flag.ts'
import { tempFolder } from '../../support/temp-folder.ts'

test('is a file, JSON, or fields with types', async () => {
  await using folder = await tempFolder()
  const schema = { type: 'object', properties: { a: { type: 'null' } } }
  const path = await folder.write('s.json', JSON.stringify(schema))
  expect(await readSchema(path)).toEqual(schema)
  expect(await readSchema(JSON.stringify(schema))).toEqual(schema)
  const short = {
    type: 'object',
    properties: {
      name: { type: 'string' },
      age: { type: 'integer' },
      größe: { type: 'number', description: 'in metres' }
    },
    required: ['name', 'age', 'größe'],
    additionalProperties: false
  }
  expect(await readSchema('name, age int, größe float: in metres')).toEqual(short)
  expect(shortSchema('name\nage int\ngröße float: in metres')).toEqual(short)
})

test('what is no schema is told', async () => {
  await using folder = await tempFolder()
  const broken = await folder.write('s.json', '{"type":')
  for (const [given, word] of [
    ['', 'cannot be'],
    ['{', 'no JSON'],
    [broken, 'no JSON'],
    ['age integer32', 'age integer32'],
    ['age toString', 'age toString'],
    ['no-such-file.json', 'no-such-file.json']
  ] as const) {
    await expect(readSchema(given)).rejects.toThrow(word)
  }
})

test('what cannot be held is told before anything is opened', async () => {
  await expect(schemaConstraint('{"type": "string", "not": {}}')).rejects.toThrow("'not'")
  expect(await schemaConstraint(undefined)).toBeUndefined()
  expect(await schemaConstraint('{"enum": ["yes", "no"]}')).toEqual({
    kind: 'schema',
    schema: { enum: ['yes', 'no'] }
  })
})
