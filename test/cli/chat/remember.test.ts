import { expect, test } from 'bun:test'
import { relative } from 'node:path'
import { createLog } from '../../../src/base/log.ts'
import { defaultModel, rememberModel } from '../../../src/cli/chat/remember.ts'
import type { Context } from '../../../src/cli/context.ts'
import { tempFolder } from '../../support/temp-folder.ts'

function contextIn(folder: string, env: Context['env'] = {}): Context {
  return {
    paths: { data: folder, cache: folder },
    log: createLog('silent'),
    tell: () => {},
    debug: false,
    bootstrap: [],
    env,
    signal: new AbortController().signal
  }
}

test('a path is remembered whole, so that it is found from another folder', async () => {
  await using folder = await tempFolder()
  const path = await folder.write('m.gguf', 'GGUF')
  const context = contextIn(folder.path)
  await rememberModel(context, relative(process.cwd(), path))
  expect(await defaultModel(context)).toBe(path)
})

test('an alias and a name of a hub are remembered as they are, and PETALS_MODEL comes first', async () => {
  await using folder = await tempFolder()
  const context = contextIn(folder.path)
  expect(await defaultModel(context)).toBeUndefined()
  for (const name of ['smollm2-135m', 'acme/tiny@v2']) {
    await rememberModel(context, name)
    expect(await defaultModel(context)).toBe(name)
  }
  expect(await defaultModel(contextIn(folder.path, { PETALS_MODEL: 'mine' }))).toBe('mine')
})
