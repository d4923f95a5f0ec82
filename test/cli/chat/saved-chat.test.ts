import { expect, test } from 'bun:test'
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { ChatKeeper } from '../../../src/cli/chat/chat-keeper.ts'
import { loadChat, requireKeepable, saveChat } from '../../../src/cli/chat/saved-chat.ts'
import { resolveSampling } from '../../../src/client/text/sampler.ts'
import { FakeClock } from '../../support/fakes/fake-clock.ts'

const MODEL = new Uint8Array(32).fill(3)
const MESSAGES = [
  { role: 'system', content: 'Be short' },
  { role: 'user', content: 'Hällo "there"\n' }
]

async function withFile(body: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'petals-chat-'))
  try {
    await body(join(folder, 'chat.json'))
  } finally {
    await rm(folder, { recursive: true })
  }
}

test('a conversation comes back as it was kept, and only its owner may read it', async () => {
  await withFile(async (path) => {
    await saveChat(path, MODEL, { messages: MESSAGES })
    expect(await loadChat(path, MODEL)).toMatchObject({ messages: MESSAGES })
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })
})

const UNFINISHED = {
  question: 'Why?',
  raw: false,
  prompt: [1, 2],
  ids: [3],
  sampling: resolveSampling({ seed: 9, temperature: 0.5 }),
  maxTokens: 40
}

test('an answer that was interrupted comes back with all it takes to go on', async () => {
  await withFile(async (path) => {
    await saveChat(path, MODEL, { messages: MESSAGES, unfinished: UNFINISHED })
    expect(await loadChat(path, MODEL)).toMatchObject({ unfinished: UNFINISHED })
    const held = {
      ...UNFINISHED,
      constraint: { kind: 'schema', schema: { type: 'string' } } as const
    }
    await saveChat(path, MODEL, { messages: MESSAGES, unfinished: held })
    expect(await loadChat(path, MODEL)).toMatchObject({ unfinished: held })
  })
})

test('an interrupted answer that cannot be gone on with is CORRUPT', async () => {
  const spoiled = [
    null,
    { ...UNFINISHED, ids: [1.5] },
    { ...UNFINISHED, prompt: undefined },
    { ...UNFINISHED, question: 1 },
    { ...UNFINISHED, maxTokens: -1 },
    { ...UNFINISHED, constraint: null },
    { ...UNFINISHED, constraint: { kind: 'choice', choices: ['a'] } },
    { ...UNFINISHED, constraint: { kind: 'schema', schema: { type: 'nothing' } } },
    { ...UNFINISHED, sampling: { temperature: 0 } },
    { ...UNFINISHED, sampling: { ...UNFINISHED.sampling, topP: 7 } }
  ]
  await withFile(async (path) => {
    for (const unfinished of spoiled) {
      await saveChat(path, MODEL, { messages: [], unfinished: unfinished as never })
      const code = await loadChat(path, MODEL).catch((error: { code: string }) => error.code)
      expect({ unfinished, code }).toEqual({ unfinished, code: 'CORRUPT' })
    }
  })
})

test('a conversation is written four times a second at most, and whole at its end', async () => {
  const clock = new FakeClock()
  let written = 0
  const keeper = new ChatKeeper(async () => void written++, clock)
  for (let token = 0; token < 100; token++) {
    keeper.note()
    await clock.advance(10)
  }
  expect(written).toBe(5)
  await keeper.flush()
  expect(written).toBe(6)
  await clock.advance(1000)
  expect(written).toBe(6)
})

test('a conversation that is slow to write is written less often', async () => {
  const clock = new FakeClock()
  let written = 0
  const save = async (): Promise<void> => {
    written++
    await new Promise<void>((resolve) => void clock.after(200, resolve))
  }
  const keeper = new ChatKeeper(save, clock)
  for (let token = 0; token < 100; token++) {
    keeper.note()
    await clock.advance(100)
  }
  expect(written).toBe(3)
})

test('a file that is not there is an empty conversation', async () => {
  await withFile(async (path) => expect(await loadChat(path, MODEL)).toEqual({ messages: [] }))
})

test('an empty file, or a blank one, is an empty conversation', async () => {
  await withFile(async (path) => {
    for (const text of ['', '\n', ' \n\t']) {
      await writeFile(path, text)
      expect(await loadChat(path, MODEL)).toEqual({ messages: [] })
    }
  })
})

test('a conversation with another model is refused', async () => {
  await withFile(async (path) => {
    await saveChat(path, MODEL, { messages: MESSAGES })
    expect(loadChat(path, new Uint8Array(32))).rejects.toMatchObject({ code: 'BAD_INPUT' })
  })
})

test('a damaged conversation is CORRUPT, whatever is wrong with it', async () => {
  const files = [
    '{',
    'null',
    '[]',
    '{"format":"petals-chat-1","model":"00"}',
    '{"format":"petals-chat-1","model":"00","messages":[{"role":"user"}]}',
    '{"format":"other","model":"00","messages":[]}'
  ]
  await withFile(async (path) => {
    for (const text of files) {
      await writeFile(path, text)
      const code = await loadChat(path, MODEL).catch((error: { code: string }) => error.code)
      expect({ text, code }).toEqual({ text, code: 'CORRUPT' })
    }
  })
})

test('a place where no conversation can be kept is refused before there is one', async () => {
  await withFile(async (path) => {
    await writeFile(path, '')
    const places = [
      join(path, 'chat.json'),
      join(dirname(path), 'none', 'chat.json'),
      dirname(path)
    ]
    const codes = await Promise.all(
      places.map((place) => requireKeepable(place).catch((error: { code: string }) => error.code))
    )
    expect(codes).toEqual(['NOT_FOUND', 'NOT_FOUND', 'BAD_INPUT'])
  })
})

test('asking whether a conversation can be kept leaves nothing behind', async () => {
  await withFile(async (path) => {
    await requireKeepable(path)
    expect(await readdir(dirname(path))).toEqual([])
  })
})
