// The chat program in pipes, over one server: JSON out, more texts in, code alone.
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { join } from 'node:path'
import { type Ending, Program } from '../../../scripts/processes.ts'
import { chatStoriesBytes } from '../../support/models/chat-stories.ts'
import { tempFolder, type TempFolder } from '../../support/temp-folder.ts'

const main = join(import.meta.dir, '..', '..', '..', 'src', 'cli', 'main.ts')
const MS = 60_000

let folder: TempFolder
let env: Record<string, string> = {}

beforeAll(async () => {
  folder = await tempFolder()
  const model = await folder.write('stories.gguf', await chatStoriesBytes())
  const path = process.env['PATH'] ?? ''
  const home = join(folder.path, 'home')
  env = { PATH: path, HOME: folder.path, M: model, P: `${process.execPath} ${main}` }
  env['PETALS_HOME'] = home
})

afterAll(async () => {
  await folder[Symbol.asyncDispose]()
})

/** Runs a line of the shell in the test's folder; $P chat asks the model $M. */
async function sh(line: string): Promise<Ending> {
  await using program = new Program(['sh', '-c', line], { env, cwd: folder.path })
  return await program.end(MS)
}

const chat = '$P chat $M --here all --log-level warn --temperature 0 --max-tokens 4'

interface Said {
  model: string
  text: string
  finish: string
  usage: { promptTokens: number; newTokens: number; totalTokens: number }
  speed: { firstTokenMs: number }
  route: { peer: string; start: number; end: number }[]
}

test('--json prints one object: the text, why it ended, what it took and who computed it', async () => {
  const plain = await sh(`${chat} "Once upon a time" </dev/null`)
  const { code, stdout } = await sh(`${chat} --json "Once upon a time" </dev/null`)
  expect([plain.code, code]).toEqual([0, 0])
  const said = JSON.parse(stdout) as Said
  expect(stdout.endsWith('}\n')).toBe(true)
  expect(said).toMatchObject({ model: env['M'], text: plain.stdout, finish: 'length' })
  expect(said.usage).toMatchObject({ newTokens: 4 })
  expect(said.usage.totalTokens).toBe(said.usage.promptTokens + 4)
  expect(said.speed.firstTokenMs).toBeGreaterThan(0)
  expect(said.route).toEqual([{ peer: 'here', start: 0, end: 5 }])
}, 120_000)

test('texts of files stand behind the words, as a text on stdin does', async () => {
  await folder.write('a.txt', new TextEncoder().encode('a cat\n'))
  await folder.write('b.txt', new TextEncoder().encode('a dog\n'))
  const tokens = async (line: string): Promise<number> => {
    const { stdout } = await sh(line)
    return (JSON.parse(stdout) as Said).usage.promptTokens
  }
  const once = await tokens(`${chat} --json "Tell" --file a.txt </dev/null`)
  expect(once).toBe(await tokens(`${chat} --json "Tell" <a.txt`))
  const several = await tokens(`${chat} --json "Tell" --file a.txt --file b.txt </dev/null`)
  expect(several).toBeGreaterThan(once)
  const missing = await sh(`${chat} "Tell" --file a.txt --file none.txt </dev/null`)
  expect(missing).toMatchObject({
    code: 3,
    stdout: '',
    stderr: "error: There is no file 'none.txt'\n"
  })
}, 240_000)

test('-x gives all of an answer without a code block, and says so', async () => {
  const plain = await sh(`${chat} "Once upon a time" </dev/null`)
  const { code, stdout, stderr } = await sh(`${chat} -x "Once upon a time" </dev/null`)
  expect({ code, stdout }).toEqual({ code: 0, stdout: plain.stdout })
  expect(stderr).toContain('warning: the answer has no ``` block: all of it is given\n')
}, 120_000)
