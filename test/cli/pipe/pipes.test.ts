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

interface Line {
  line: number
  id?: string
  text?: string
  error?: { code: string; message: string }
}

const lines = (text: string): Line[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line)

test('--jsonl answers line by line, in order, and goes on where --out ended', async () => {
  const asked = ['"Once upon a time"', '{"id":"b","prompt":"A cat"}', 'no JSON', '', '"The end"']
  await folder.write('in.jsonl', new TextEncoder().encode(`${asked.join('\n')}\n`))
  const batch = `${chat} --jsonl --parallel 3`
  const whole = await sh(`${batch} <in.jsonl`)
  expect(whole.code).toBe(2)
  expect(whole.stderr).toBe('warning: 1 of 4 lines failed; the first: The line is no JSON\n')
  const answers = lines(whole.stdout)
  expect(answers.map(({ line, id, error }) => [line, id, error?.code])).toEqual([
    [1, undefined, undefined],
    [2, 'b', undefined],
    [3, undefined, 'BAD_INPUT'],
    [5, undefined, undefined]
  ])
  const once = await sh(`${chat} "Once upon a time" </dev/null`)
  expect(answers[0]?.text).toBe(once.stdout)
  // The first two lines, then the rest: the shell has taken a line of the file here.
  const part = await sh(`head -2 in.jsonl | ${batch} --out out.jsonl && wc -l <out.jsonl`)
  expect(part).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\s*2\s*$/) as string })
  const rest = await sh(`${batch} --out out.jsonl <in.jsonl; cat out.jsonl`)
  const texts = (all: readonly Line[]): unknown[] => all.map(({ line, text }) => [line, text])
  expect(texts(lines(rest.stdout))).toEqual(texts(answers))
  const cut = await sh(`head -1 in.jsonl | ${batch} --strict >/dev/null`)
  expect(cut.code).toBe(9)
}, 240_000)

test('--prompt-template takes fields from stdin, and a loop of the shell keeps its lines', async () => {
  await folder.write('greet.txt', new TextEncoder().encode('Once {{name}} saw {{what}}\n'))
  const one = `${chat} --json --prompt-template greet.txt`
  const filled = await sh(`echo '{"name":"Lily","what":"a dog"}' | ${one}`)
  const plain = await sh(`${chat} --json "Once Lily saw a dog" </dev/null`)
  const textOf = ({ stdout }: Ending): string => (JSON.parse(stdout) as Said).text
  expect(textOf(filled)).toBe(textOf(plain))
  const missing = await sh(`echo '{"name":"Lily"}' | ${one}`)
  expect(missing).toMatchObject({ code: 2, stdout: '' })
  expect(missing.stderr).toContain("error: The template wants 'what', which is not given\n")
  await folder.write('names.txt', new TextEncoder().encode('Ann\nBob\n'))
  const loop = await sh(`while read n; do ${chat} --json "$n" | wc -l; done <names.txt`)
  expect(loop.stdout.trim().split(/\s+/)).toEqual(['1', '1'])
}, 240_000)

test('options that a batch cannot use are refused by name', async () => {
  const refused = async (flags: string): Promise<string> =>
    (await sh(`echo '"x"' | ${chat} ${flags}`)).stderr.split('\n')[0] ?? ''
  expect(await refused('--jsonl --session s.json')).toBe(
    'error: --session cannot stand beside --jsonl'
  )
  expect(await refused('--out x')).toBe('error: --out is of --jsonl')
  expect(await refused('--jsonl "A prompt"')).toBe(
    'error: --jsonl takes prompts from stdin, a line each'
  )
}, 120_000)
