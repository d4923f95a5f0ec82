// --draft: which models are taken for guessing, and that the program's text stays the same with one.
import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { ProgramSwarm } from '../../scripts/swarm-programs.ts'
import type { AppError } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import type { ComputeApi } from '../../src/blocks/types.ts'
import type { Context } from '../../src/cli/context.ts'
import { draftCandidates, draftName, openDrafters } from '../../src/cli/draft.ts'
import { statsLine } from '../../src/cli/stats.ts'
import type { CachedModel } from '../../src/model/model-cache.ts'
import { openModel } from '../../src/model/open-model.ts'
import { storiesLocation } from '../support/stories.ts'
import { tempFolder } from '../support/temp-folder.ts'

const MAIN = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')

function cached(name: string, totalBytes: number, heldBytes = totalBytes): CachedModel {
  return { name, files: [], heldBytes, totalBytes, convertedBytes: 0 }
}

test('whole models of the cache that are small enough may guess, the largest first', () => {
  const models = [
    cached('tiny', 10e6),
    cached('small', 100e6),
    cached('part', 90e6, 50e6),
    cached('empty', 0),
    cached('large', 1e9)
  ]
  const names = (targetBytes: number, tripMs: number): string[] =>
    draftCandidates(models, targetBytes, tripMs).map(({ name }) => name)
  expect([names(40e9, 1000), names(40e9, 100), names(290e6, 100), names(40e9, 5)]).toEqual([
    ['large', 'small', 'tiny'],
    ['small', 'tiny'],
    ['tiny'],
    []
  ])
})

test('--draft with --no-speculate is refused, but none', () => {
  const refused = (): string | undefined => draftName({ draft: 'm', speculate: false })
  expect(refused).toThrow(expect.objectContaining({ code: 'BAD_INPUT' } as Partial<AppError>))
  expect([draftName({ draft: 'none', speculate: false }), draftName({ draft: 'm' })]).toEqual([
    'none',
    'm'
  ])
  expect(draftName({})).toBeUndefined()
})

test('the line of --stats names whose guesses were right', () => {
  const stats = {
    promptTokens: 5,
    reusedTokens: 0,
    newTokens: 21,
    firstTokenMs: 40,
    decodeMs: 1000,
    finish: 'length' as const,
    trips: 8,
    drafted: 20,
    accepted: 12,
    sources: { text: { drafted: 4, accepted: 2 }, model: { drafted: 16, accepted: 10 } },
    steps: []
  }
  expect(statsLine(stats, [], 0)).toContain(
    '12 of 20 guesses right (n-gram 2 of 4, draft 10 of 16), 2.50 tokens a trip; '
  )
})

test('a draft model whose tokens are others is refused', async () => {
  await using folder = await tempFolder()
  await using stack = new AsyncDisposableStack()
  const stories = await openModel(storiesLocation)
  const { tokenizer } = stories
  const model = { ...stories, tokenizer: { ...tokenizer, json: { model: { vocab: { a: 0 } } } } }
  const context: Context = {
    paths: { data: folder.path, cache: folder.path },
    log: silentLog,
    debug: false,
    bootstrap: [],
    env: {},
    signal: new AbortController().signal
  }
  const flags = { draft: 'stories260k' }
  // Refused before the engine is asked for anything.
  const compute = {} as ComputeApi
  const opening = openDrafters(stack, { flags, model, compute, context })
  await expect(opening).rejects.toMatchObject({
    code: 'BAD_INPUT',
    message: "'stories260k' cannot guess for 'stories260K': its tokens are others"
  })
  stories.close()
})

test('a draft model changes no word of the program, greedy and seeded', async () => {
  await using swarm = new ProgramSwarm([process.execPath, MAIN])
  await swarm.bootstrap()
  await swarm.join('stories260k', '0:5')
  const args = ['Once upon a time', '--raw', '--max-tokens', '60', '--stats']
  const tell = async (more: readonly string[]): Promise<{ text: string; stats: string }> => {
    await using chat = swarm.chat('stories260k', [...args, ...more])
    const { code, stdout, stderr } = await chat.end(60_000)
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining('tokens/s') })
    return { text: stdout, stats: stderr }
  }
  for (const sampling of [
    ['--temperature', '0'],
    ['--seed', '3']
  ]) {
    const plain = await tell([...sampling, '--no-speculate'])
    const drafted = await tell([...sampling, '--draft', 'stories260k'])
    expect(drafted.text).toBe(plain.text)
  }
}, 120_000)
