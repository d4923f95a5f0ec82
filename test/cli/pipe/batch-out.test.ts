import { expect, test } from 'bun:test'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { toAppError } from '../../../src/base/errors.ts'
import { openBatchOut } from '../../../src/cli/pipe/batch-out.ts'
import { tempFolder } from '../../support/temp-folder.ts'

test('a batch goes on behind the last whole line of its file', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'out.jsonl')
  {
    using out = openBatchOut(path)
    expect(out.done).toBe(0)
    out.write('{"line":1,"text":"é"}\n')
    out.write('{"line":4,"text":"b"}\n{"line":5,"te')
  }
  using again = openBatchOut(path)
  expect(again.done).toBe(4)
  again.write('{"line":5}\n')
  expect(await readFile(path, 'utf8')).toBe(
    '{"line":1,"text":"é"}\n{"line":4,"text":"b"}\n{"line":5}\n'
  )
})

test('a file of something else is left as it is', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'notes.txt')
  for (const text of ['my notes\n', '{"line":2}\n{"line":2}\n', '{"line":"1"}\n']) {
    await writeFile(path, text)
    const open = (): string => {
      try {
        openBatchOut(path)[Symbol.dispose]()
        return 'opened'
      } catch (error) {
        return toAppError(error).code
      }
    }
    expect(open()).toBe('BAD_INPUT')
    expect(await readFile(path, 'utf8')).toBe(text)
  }
})
