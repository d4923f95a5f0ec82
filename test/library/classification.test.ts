// Texts told apart by class: trained by `petals tune` from a table, then used by a program.
import { expect, setDefaultTimeout, test } from 'bun:test'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Program } from '../../scripts/processes.ts'
import { AutoDistributedModelForSequenceClassification } from '../../src/index.ts'
import { tempFolder } from '../support/temp-folder.ts'

setDefaultTimeout(180_000)

const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')
const NOBODY = '127.0.0.1:9'
const NAMES = ['Tom', 'Lily', 'Ben', 'Sue', 'Max', 'Mia', 'Sam', 'Anna']
const TABLE = [
  'text,label',
  ...NAMES.flatMap((name) => [
    `"${name} was happy, and played",glad`,
    `"${name} was sad, and cried",sorry`
  ])
].join('\n')

test.each([
  ['lora', ['--lr', '0.01', '--rank', '4', '--rslora'], 'adapter_model.safetensors'],
  ['prompt', ['--lr', '0.05', '--positions', '4'], 'prompt.safetensors']
])('classes are learnt with %s and told by the library', async (method, args, kept) => {
  await using folder = await tempFolder()
  const { path } = folder
  const [table, out] = [join(path, 'table.csv'), join(path, 'out')]
  writeFileSync(table, TABLE)
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: path,
    PETALS_HOME: join(path, 'home'),
    PETALS_BOOTSTRAP: NOBODY
  }
  const words = ['--task', 'classification', '--method', method, '--here', 'all', '--yes']
  const plan = ['--out', out, '--epochs', '6', '--batch', '4', '--eval-split', '0.25']
  await using program = new Program(
    [process.execPath, main, 'tune', 'stories260k', table, ...words, ...plan, ...args],
    { env }
  )
  const { code, stderr } = await program.end(120_000)
  expect({ code, stderr }).toMatchObject({ code: 0 })
  expect(readFileSync(join(out, kept)).byteLength).toBeGreaterThan(100)
  const [last] = readFileSync(join(out, 'log.jsonl'), 'utf8').trim().split('\n').slice(-1)
  expect(JSON.parse(last ?? '')).toMatchObject({ accuracy: 1, evalAccuracy: 1 })

  await using model = await AutoDistributedModelForSequenceClassification.from_pretrained(
    'stories260k',
    { adapter: out, here: 'all', initial_peers: [NOBODY], num_labels: 2 }
  )
  expect(model.labels).toEqual(['glad', 'sorry'])
  const told = await model.predict(['Kim was happy, and played', 'Kim was sad, and cried'])
  expect(told.map(({ label }) => label)).toEqual(['glad', 'sorry'])
  for (const { label, score, scores } of told) {
    expect(score).toBeGreaterThan(0.5)
    expect(scores[label]).toBe(score)
    expect((scores['glad'] ?? 0) + (scores['sorry'] ?? 0)).toBeCloseTo(1, 6)
  }
})

test('a table without classes, or with one, is refused before anything is opened', async () => {
  await using folder = await tempFolder()
  const table = join(folder.path, 'table.csv')
  for (const [content, why] of [
    ['text,kind\na,b\n', "line 2: 'label' is no text"],
    ['text,label\na,b\nc,b\n', 'it has 1 classes']
  ] as const) {
    writeFileSync(table, content)
    await using program = new Program(
      [process.execPath, main, 'tune', 'stories260k', table, '--task', 'classification', '--yes'],
      { env: { PATH: process.env['PATH'] ?? '', HOME: folder.path, PETALS_BOOTSTRAP: NOBODY } }
    )
    const { code, stderr } = await program.end(60_000)
    expect(code).not.toBe(0)
    expect(stderr).toContain(why)
  }
})
