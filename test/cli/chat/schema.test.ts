// --schema: what it takes, and that answers follow it.
import { expect, test } from 'bun:test'
import { readSchema, schemaHolder, shortSchema } from '../../../src/cli/chat/schema-flag.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { storiesLocation } from '../../support/models/stories.ts'
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
    ['no-such-file.json', 'no-such-file.json']
  ] as const) {
    await expect(readSchema(given)).rejects.toThrow(word)
  }
})

test('holds each answer by a processor of its own', async () => {
  const model = await openModel(storiesLocation)
  const hold = await schemaHolder('{"enum": ["yes", "no"]}', model)
  const { vocabSize } = model.config
  const logits = new Float32Array(vocabSize)
  const allowed = (of: ReturnType<typeof hold>): number[] =>
    [...of[0]!.process(logits, []).entries()].filter(([, v]) => v === 0).map(([id]) => id)
  const [first, second] = [hold(), hold()]
  const before = allowed(first)
  expect(before.length).toBeGreaterThan(0)
  expect(before.length).toBeLessThan(20)
  first[0]!.drew?.(before[0]!, logits)
  expect(allowed(first)).not.toEqual(before)
  expect(allowed(second)).toEqual(before)
  model.close()
})
