// The examples are run as they are, by the gate, on this machine alone.
import { describe, expect, setDefaultTimeout, test } from 'bun:test'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { localApi } from '../api/support/local-api.ts'
import { chatStoriesBytes } from '../support/models/chat-stories.ts'
import { readReferences } from '../support/models/stories.ts'
import { tempFolder } from '../support/temp-folder.ts'

setDefaultTimeout(120_000)

const root = join(import.meta.dir, '..', '..')
const examples = join(root, 'scripts', 'examples')

async function run(
  command: readonly string[],
  env: Record<string, string>,
  input = ''
): Promise<string> {
  const child = Bun.spawn([...command], {
    cwd: root,
    env: { ...process.env, ...env },
    stdin: Buffer.from(input),
    stderr: 'pipe'
  })
  const [text, error] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text()
  ])
  expect({ code: await child.exited, error }).toMatchObject({ code: 0 })
  return text
}

describe('a program of the library', () => {
  const told = readReferences().find(({ prompt }) => prompt === 'Once upon a time')!.text
  test.each([
    ['generate.ts', `Once upon a time${told.slice(0, 40)}`],
    ['stream.ts', '20 tokens by 1 servers'],
    ['session.ts', 'The dog was very sad'],
    ['dpo.ts', 'step 8: loss 0.0']
  ])('%s', async (file, expected) => {
    await using folder = await tempFolder()
    // Nobody answers there: the model runs here.
    const env = { PETALS_HOME: folder.path, PETALS_BOOTSTRAP: '127.0.0.1:9' }
    expect(await run([process.execPath, join(examples, file)], env)).toContain(expected)
  })

  test('tune.ts', async () => {
    await using folder = await tempFolder()
    const env = { PETALS_HOME: folder.path, PETALS_BOOTSTRAP: '127.0.0.1:9' }
    const out = join(folder.path, 'out')
    const told = await run([process.execPath, join(examples, 'tune.ts'), 'stories260k', out], env)
    const losses = [...told.matchAll(/loss ([\d.]+)/g)].map(([, loss]) => Number(loss))
    expect(losses.length).toBe(10)
    expect(losses.at(-1)).toBeLessThan(losses[0]! / 3)
    expect((await readdir(out)).sort()).toEqual([
      'adapter_config.json',
      'adapter_model.safetensors'
    ])
  })

  test('chat.ts answers both turns', async () => {
    await using folder = await tempFolder()
    const model = await folder.write('stories.gguf', await chatStoriesBytes())
    const env = { PETALS_HOME: folder.path, PETALS_BOOTSTRAP: '127.0.0.1:9' }
    const text = await run([process.execPath, join(examples, 'chat.ts'), model], env)
    const turns =
      /^user: Once upon a time\nassistant: (\S[^]*)\nuser: What came next\?\nassistant: (\S[^]*)\n$/
    const [, first, second] = turns.exec(text) ?? []
    expect(first).toBeDefined()
    expect(second).not.toBe(first)
  })
})

test('batch.sh answers lines in their order', async () => {
  await using folder = await tempFolder()
  const model = await folder.write('stories.gguf', await chatStoriesBytes())
  const env = {
    PETALS: `${process.execPath} ${join(root, 'src', 'cli', 'main.ts')}`,
    PETALS_HOME: folder.path,
    PETALS_BOOTSTRAP: '127.0.0.1:9'
  }
  const input = ['Once upon a time', 'The dog']
    .map((prompt, i) => `${JSON.stringify({ id: `line ${i}`, prompt })}\n`)
    .join('')
  const lines = (await run(['sh', join(examples, 'batch.sh'), model], env, input))
    .trim()
    .split('\n')
  const answers = lines.map((line) => JSON.parse(line) as { id: string; text: string })
  expect(answers.map(({ id }) => id)).toEqual(['line 0', 'line 1'])
  for (const { text } of answers) expect(text.length).toBeGreaterThan(5)
})

test.skipIf(Bun.which('curl') === null)('curl.sh sends any prompt, and its key', async () => {
  await using api = await localApi({ apiKey: 'correct horse' })
  const prompt = String.raw`She said "hi" \ and left` + '\nat once'
  const env = { PETALS_URL: api.url, PETALS_KEY: 'correct horse' }
  const text = await run(['sh', join(examples, 'curl.sh'), prompt], env)
  expect(text).toContain('"finish_reason":"length"')
  expect(text.trimEnd().endsWith('data: [DONE]')).toBe(true)
})

test.skipIf(Bun.which('curl') === null)('schema.sh gets JSON that follows its schema', async () => {
  await using api = await localApi()
  const text = await run(['sh', join(examples, 'schema.sh')], { PETALS_URL: api.url })
  const { choices } = JSON.parse(text) as { choices: { message: { content: string } }[] }
  const cat = JSON.parse(choices[0]!.message.content) as { name: string; age: number }
  expect(Object.keys(cat)).toEqual(['name', 'age'])
  expect(cat.age).toBeLessThanOrEqual(25)
})

const hasOpenai =
  Bun.which('python3') !== null &&
  Bun.spawnSync(['python3', '-c', 'import openai'], { stderr: 'ignore' }).exitCode === 0

test.skipIf(!hasOpenai)('the notebook runs, cell after cell', async () => {
  await using api = await localApi()
  const { cells } = (await Bun.file(join(examples, 'notebook.ipynb')).json()) as {
    cells: { cell_type: string; source: string[] }[]
  }
  const code = cells
    .filter(({ cell_type: type }) => type === 'code')
    .map(({ source }) => source.join(''))
  expect(await run(['python3', '-c', code.join('\n')], { PETALS_URL: api.url })).toContain(
    "{'ok': "
  )
})
