import { expect, test } from 'bun:test'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { silentLog } from '../../../src/base/log.ts'
import { addToHistory, History, parseHistory } from '../../../src/cli/terminal/history.ts'
import { tempFolder } from '../../support/temp-folder.ts'

test('what was asked is there in the next run, the latest last, each once', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'data', 'chat-history')
  const first = new History(path, silentLog)
  for (const text of ['one', 'two\nlines', 'one', '  ']) await first.add(text)
  const second = new History(path, silentLog)
  await second.load()
  expect(second.entries).toEqual(['two\nlines', 'one'])
  expect((await stat(path)).mode & 0o777).toBe(0o600)
})

test('two chats at once keep what both asked', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'chat-history')
  const [a, b] = [new History(path, silentLog), new History(path, silentLog)]
  await a.add('of a')
  await b.add('of b')
  await a.add('of a again')
  expect(parseHistory(await Bun.file(path).text())).toEqual(['of a', 'of b', 'of a again'])
})

test('a file that is none is no history, and a folder that cannot be written is no failure', async () => {
  expect(parseHistory('\x00\n{"a":1}\n"fine"\n7\n"cut')).toEqual(['fine'])
  const history = new History('/dev/null/none/chat-history', silentLog)
  await history.load()
  await history.add('one')
  expect(history.entries).toEqual(['one'])
})

test('a history has an end, and no documents in it', () => {
  const many = Array.from({ length: 1500 }, (_, i) => `"${i}"\n`).join('')
  expect(parseHistory(many)).toHaveLength(1000)
  expect(addToHistory(parseHistory(many), 'new').slice(-2)).toEqual(['1499', 'new'])
  expect(addToHistory([], 'x'.repeat(20_000))).toEqual([])
})
