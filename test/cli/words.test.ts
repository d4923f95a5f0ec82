import { expect, test } from 'bun:test'
import { parseMemory } from '../../src/cli/engine.ts'
import { errorOf, errorText, exitCode, naming } from '../../src/cli/exit.ts'
import { badInput, internal, noRoute, toAppError, type AppError } from '../../src/base/errors.ts'
import { joinPrompt, readPiped } from '../../src/cli/chat/input.ts'
import { quantNote } from '../../src/cli/run/join.ts'
import {
  parseBlocks,
  parseBytes,
  parseChoice,
  parseKv,
  parseList,
  parseNumber,
  parseWhole
} from '../../src/cli/options.ts'
import { requireOwnAddress } from '../../src/cli/swarm/own-address.ts'
import { parseAddresses, resolveAddresses } from '../../src/library/open/addresses.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'
import { chatTarget } from '../../src/cli/chat/target.ts'

const nothing = async (): Promise<boolean> => false

async function* pipe(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks
}

function target(words: string[], defaultModel?: string): Promise<unknown> {
  return chatTarget(words, { defaultModel, exists: nothing })
}

test('chatTarget() takes two words as model and prompt', async () => {
  expect(await target(['summarise', 'this'])).toEqual({ model: 'summarise', words: 'this' })
})

test('chatTarget() takes one word as the model when it names one', async () => {
  expect(await target(['stories260k'], 'other')).toEqual({ model: 'stories260k', words: undefined })
})

test('chatTarget() takes one word that exists as a file as the model', async () => {
  const exists = async (path: string): Promise<boolean> => path === 'weights'
  const found = await chatTarget(['weights'], { defaultModel: 'other', exists })
  expect(found).toEqual({ model: 'weights', words: undefined })
})

test('chatTarget() takes one plain word as the prompt once a model was used', async () => {
  expect(await target(['summarise'], 'stories260k')).toEqual({
    model: 'stories260k',
    words: 'summarise'
  })
})

test('chatTarget() takes for a model an alias, owner/name, a content id and what is spelt like its file', async () => {
  const id = '0f'.repeat(32)
  const models = [
    'acme/tiny-chat',
    'acme/tiny@v2:Q4_0',
    id,
    'weights.gguf',
    './x',
    '../y/z',
    '/a/b.bin'
  ]
  const found = await Promise.all(models.map((word) => target([word], 'stories260k')))
  expect(found).toEqual(models.map((model) => ({ model, words: undefined })))
})

test('chatTarget() takes every other word for a prompt, whatever its language', async () => {
  const prompts = [
    'Hello!',
    '2+2=?',
    '为什么天空是蓝色的？',
    'ทำไมท้องฟ้าเป็นสีฟ้า',
    '',
    'x',
    'and/or/not',
    '/new',
    '😀'
  ]
  const found = await Promise.all(prompts.map((word) => target([word])))
  expect(found).toEqual(prompts.map((words) => ({ model: 'smollm2-135m', words })))
})

test('chatTarget() tells of a model that is called much like the prompt', async () => {
  expect(await target(['smollm2-135'], 'stories260k')).toEqual({
    model: 'stories260k',
    words: 'smollm2-135',
    near: 'smollm2-135m'
  })
})

test('chatTarget() refuses an empty model', async () => {
  await expect(target(['', 'Hello'])).rejects.toMatchObject({ code: 'BAD_INPUT' })
})

test('chatTarget() takes a sentence as the prompt for the default model', async () => {
  expect(await target(['Why is the sky blue?'])).toEqual({
    model: 'smollm2-135m',
    words: 'Why is the sky blue?'
  })
})

test('chatTarget() refuses three words and says to quote', async () => {
  expect(target(['a', 'b', 'c'])).rejects.toMatchObject({ code: 'BAD_INPUT' })
})

test('joinPrompt() puts words before the piped text and drops its last newline', () => {
  expect([
    joinPrompt({ words: undefined, piped: 'Once upon a time\n' }),
    joinPrompt({ words: 'Summarise', piped: 'a\n\nb\r\n' }),
    joinPrompt({ words: '', piped: '' }),
    joinPrompt({ words: 'x\n', piped: undefined }),
    joinPrompt({ words: undefined, piped: undefined })
  ]).toEqual(['Once upon a time', 'Summarise\n\na\n\nb', '', 'x\n', undefined])
})

test('joinPrompt() puts files behind the words, under their names where there are several texts', () => {
  const a = { name: 'a.md', text: 'one\n' }
  const b = { name: 'b.md', text: 'two' }
  expect(joinPrompt({ words: 'Say', piped: undefined, files: [a] })).toBe('Say\n\none')
  expect(joinPrompt({ words: undefined, piped: '', files: [a, b] })).toBe(
    '--- a.md ---\none\n\n--- b.md ---\ntwo'
  )
  expect(joinPrompt({ words: 'Say', piped: 'three\n', files: [a] })).toBe(
    'Say\n\n--- a.md ---\none\n\n--- stdin ---\nthree'
  )
})

test('readPiped() joins characters that chunks split', async () => {
  const bytes = new TextEncoder().encode('naïve 🙂')
  expect(await readPiped(pipe(bytes.slice(0, 3), bytes.slice(3, 9), bytes.slice(9)))).toBe(
    'naïve 🙂'
  )
})

test('readPiped() refuses what is no text', async () => {
  expect(readPiped(pipe(Uint8Array.of(0x61, 0xff, 0x62)))).rejects.toMatchObject({
    code: 'BAD_INPUT'
  })
})

test('readPiped() tells once that nothing has come for a second, and ends at its signal', async () => {
  const clock = new FakeClock()
  const end = new AbortController()
  const told: string[] = []
  async function* silent(): AsyncGenerator<Uint8Array> {
    await new Promise(() => {})
    yield new Uint8Array()
  }
  const onsilence = (): void => void told.push('silent')
  const reading = readPiped(silent(), { clock, signal: end.signal, onsilence })
  await clock.advance(999)
  expect(told).toEqual([])
  await clock.advance(5000)
  expect(told).toEqual(['silent'])
  end.abort()
  await expect(reading).rejects.toMatchObject({ code: 'CANCELLED' })
})

test('bootstrap addresses are lists of addresses, localhost and names', async () => {
  const lookUp = async (name: string): Promise<string | undefined> =>
    name === 'node.example' ? '192.0.2.7' : undefined
  const value = '127.0.0.1:1, 10.0.0.2:65535,localhost:7,node.example:80'
  expect(await resolveAddresses(value, lookUp)).toEqual([
    { host: '127.0.0.1', port: 1 },
    { host: '10.0.0.2', port: 65_535 },
    { host: '127.0.0.1', port: 7 },
    { host: '192.0.2.7', port: 80 }
  ])
  await expect(resolveAddresses('nowhere.example:80', lookUp)).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    message: "The bootstrap node 'nowhere.example' cannot be found: the name has no IPv4 address"
  })
  expect(await resolveAddresses(undefined, lookUp)).toEqual([])
})

test('parsers refuse what cannot be used and name it', () => {
  const attempts = [
    () => parseAddresses('127.0.0.1'),
    () => parseAddresses('127.0.0.1:0'),
    () => parseAddresses('[::1]:80'),
    () => parseAddresses('::1:80'),
    () => parseAddresses('10.0.0:80'),
    () => parseAddresses('300.0.0.1:80'),
    () => parseAddresses('a b:80'),
    () => parseAddresses('127.0.0.1:'),
    () => parseAddresses(''),
    () => parseList('models', 'a,,b'),
    () => parseNumber('temperature', ''),
    () => parseNumber('temperature', ' '),
    () => parseBlocks('5:5'),
    () => parseBlocks('a:b'),
    () => parseBlocks('3'),
    () => parseWhole('threads', '1.5', 1, 8),
    () => parseWhole('threads', '', 1, 8),
    () => parseWhole('threads', '9', 1, 8),
    () => parseNumber('temperature', 'warm'),
    () => parseChoice('quant', 'int3', ['int4', 'int8']),
    () => parseBytes('memory', '8 gallons')
  ]
  const codes = attempts.map((attempt) => {
    try {
      return attempt()
    } catch (error) {
      return (error as { code: string }).code
    }
  })
  expect(codes).toEqual(attempts.map(() => 'BAD_INPUT'))
})

test('parsers leave what was not given undefined', () => {
  expect([
    parseAddresses(undefined),
    parseBlocks(undefined),
    parseBytes('memory', undefined)
  ]).toEqual([[], undefined, undefined])
})

test('parseMemory() refuses more than the machine has', () => {
  expect(parseMemory('memory', '2k', 2048)).toBe(2048)
  expect(parseMemory('memory', undefined, 1)).toBeUndefined()
  expect(() => parseMemory('memory', '3k', 2048)).toThrow(
    "--memory cannot be '3k': this machine has 2.0 KiB"
  )
})

test('parseBytes() reads units', () => {
  expect([parseBytes('m', '8g'), parseBytes('m', '1.5 GiB'), parseBytes('m', '512')]).toEqual([
    8 * 2 ** 30,
    1.5 * 2 ** 30,
    512
  ])
})

test('exitCode() tells usage, routes and faults apart', () => {
  expect([exitCode('BAD_INPUT'), exitCode('NO_ROUTE'), exitCode('CANCELLED')]).toEqual([2, 5, 130])
})

test('errorText() shows the hint, and a stack only for faults of ours or on demand', () => {
  const plain = errorText(badInput('It is wrong', { hint: 'Try right' }))
  expect(plain).toBe('error: It is wrong\n  Try right\n')
  expect(errorText(noRoute('x'), { debug: true })).toContain('words.test.ts')
  expect(errorText(internal('x'))).toContain('words.test.ts')
})

test('parseKv() takes the three ways, on a CPU alone', () => {
  expect([parseKv({}), parseKv({ kv: 'int8' }), parseKv({ kv: 'f32', device: 'cpu' })]).toEqual([
    undefined,
    'int8',
    'f32'
  ])
  expect(() => parseKv({ kv: 'int4' })).toThrow(expect.objectContaining({ code: 'BAD_INPUT' }))
  expect(() => parseKv({ kv: 'f16', device: 'cuda' })).toThrow(
    expect.objectContaining({
      code: 'BAD_INPUT',
      hint: 'Leave --kv out: on a GPU keys and values are f32'
    })
  )
})

test('quantNote() tells that float16 saves no memory, and nothing of the others', () => {
  const quants = ['native', 'f32', 'int8', 'int4', 'f16'] as const
  expect(quants.map((quant) => quantNote(quant)?.includes('held as float32'))).toEqual([
    undefined,
    undefined,
    undefined,
    undefined,
    true
  ])
})

test('errorText() makes harmless what it quotes, and names the model that was typed', () => {
  const hostile = "'\u001b]52;c;AAAA\u0007\u009b2J\u202e' is no model"
  const text = errorText(badInput(hostile, { hint: 'Serve it: petals join MODEL --lan' }), {
    model: 'my model'
  })
  expect(text).toBe(
    "error: '\uFFFD]52;c;AAAA\uFFFD\uFFFD2J\uFFFD' is no model\n  Serve it: petals join 'my model' --lan\n"
  )
})

test('naming() puts the model that was typed into hints, but not where another is meant', async () => {
  const hintOf = async (hint: string): Promise<string | undefined> => {
    const failing = naming('./m.gguf', () => Promise.reject(badInput('It cannot be', { hint })))
    return await failing.then(
      () => undefined,
      (error: AppError) => error.hint
    )
  }
  expect(await hintOf('Start one: petals join MODEL --blocks 0:3')).toBe(
    'Start one: petals join ./m.gguf --blocks 0:3'
  )
  const room = 'Make room with petals rm MODEL'
  expect(await hintOf(room)).toBe(room)
  expect(await naming('m', async () => 5)).toBe(5)
})

test('a place to listen at is an address of this machine', () => {
  const refused = (value: string): string | undefined => {
    try {
      requireOwnAddress('host', value, ['127.0.0.1', '192.0.2.7'])
      return undefined
    } catch (error) {
      return toAppError(error).message
    }
  }
  expect(['0.0.0.0', '127.0.0.9', '192.0.2.7'].map(refused)).toEqual([
    undefined,
    undefined,
    undefined
  ])
  expect(refused('9.9.9.9')).toBe("--host cannot be '9.9.9.9': this machine has no such address")
  expect(refused('::1')).toBe("--host cannot be '::1': it is no IPv4 address")
})

test('errorOf() takes a folder that the system refuses for no fault of ours', () => {
  const refused = (code: string, more: object = {}): Error =>
    Object.assign(new Error(code), { code, path: '/home/x', syscall: 'open', ...more })
  const codes = [
    refused('EACCES'),
    refused('ENOTDIR'),
    refused('ENOSPC'),
    refused('ENOENT', { syscall: 'mkdir' }),
    refused('ENOENT'),
    refused('EACCES', { path: undefined }),
    noRoute('Nobody')
  ].map((thrown) => exitCode(errorOf(thrown).code))
  expect(codes).toEqual([8, 8, 6, 8, 1, 1, 5])
})
