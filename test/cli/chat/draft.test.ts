// --draft: which models are taken for guessing, and that the program's text stays the same with
// one.
import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { ProgramSwarm } from '../../../scripts/net/swarm-programs.ts'
import type { AppError } from '../../../src/base/errors.ts'
import { silentLog } from '../../../src/base/log.ts'
import { Compute } from '../../../src/blocks/compute.ts'
import type { ComputeApi } from '../../../src/blocks/types.ts'
import type { Context } from '../../../src/cli/context.ts'
import { draftOf } from '../../../src/cli/chat/chat-flags.ts'
import { draftCandidates, openDrafters } from '../../../src/library/open/drafters.ts'
import { statsLine } from '../../../src/library/text/report.ts'
import { AutoDrafter } from '../../../src/client/speculate/auto-draft.ts'
import type { CachedModel } from '../../../src/model/store/model-cache.ts'
import { openModel } from '../../../src/model/open-model.ts'
import type { TensorInfo } from '../../../src/model/types.ts'
import { storiesGgufBytes } from '../../support/models/remote-model.ts'
import { readReferences, storiesLocation } from '../../support/models/stories.ts'
import { tempFolder } from '../../support/temp-folder.ts'

const MAIN = join(import.meta.dir, '..', '..', '..', 'src', 'cli', 'main.ts')

function cached(name: string, totalBytes: number, heldBytes = totalBytes): CachedModel {
  return { name, files: [], heldBytes, totalBytes, convertedBytes: 0, isInUse: false }
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
  const refused = (): string | false => draftOf({ draft: 'm', speculate: false })
  expect(refused).toThrow(expect.objectContaining({ code: 'BAD_INPUT' } as Partial<AppError>))
  expect([
    draftOf({ draft: 'none', speculate: false }),
    draftOf({ draft: 'm' }),
    draftOf({ speculate: false }),
    draftOf({})
  ]).toEqual([false, 'm', false, 'auto'])
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

function contextIn(folder: string): Context {
  return {
    paths: { data: folder, cache: folder },
    log: silentLog,
    tell: () => {},
    debug: false,
    bootstrap: [],
    env: {},
    signal: new AbortController().signal
  }
}

test('a draft model whose tokens are others is refused', async () => {
  await using folder = await tempFolder()
  await using stack = new AsyncDisposableStack()
  const stories = await openModel(storiesLocation)
  const { tokenizer } = stories
  const model = { ...stories, tokenizer: { ...tokenizer, json: { model: { vocab: { a: 0 } } } } }
  const context = contextIn(folder.path)
  const draft = 'stories260k'
  // Refused before the engine is asked for anything.
  const compute = {} as ComputeApi
  const opening = openDrafters(stack, { name: './large.gguf', draft, model, compute, context })
  await expect(opening).rejects.toMatchObject({
    code: 'BAD_INPUT',
    message: "'stories260k' cannot guess for './large.gguf': its tokens are others"
  })
  stories.close()
})

test('over long trips a model of the cache guesses by itself, if its tokens are the same', async () => {
  await using folder = await tempFolder()
  await folder.write(`models/${'0'.repeat(64)}/tiny.gguf`, await storiesGgufBytes())
  await using compute = new Compute({ threads: 1 })
  const path = join(folder.path, 'models', '0'.repeat(64), 'tiny.gguf')
  const own = await openModel({ kind: 'gguf', paths: [path] })
  // A model that is far larger, whatever its tensors are.
  const list = (): TensorInfo[] => [{ name: 'x', type: 'F32', shape: [1], sizeBytes: 1e9 }]
  const large = { ...own, tensors: { ...own.tensors, list } }
  const other = { ...large, tokenizer: { ...own.tokenizer, json: { model: { vocab: { a: 0 } } } } }
  const context = contextIn(folder.path)
  const guessers = await Promise.all(
    [large, other].map(async (model) => {
      await using stack = new AsyncDisposableStack()
      const [, draft] = await openDrafters(stack, {
        name: 'stories',
        draft: 'auto',
        model,
        compute,
        context
      })
      if (!(draft instanceof AutoDrafter)) throw new Error('There is no drafter')
      for (let trip = 0; trip < 8; trip++) draft.ontrip(100)
      await draft.settled()
      return (await draft.draft([1], 3)).ids.length
    })
  )
  expect(guessers).toEqual([3, 0])
  own.close()
})

test('a draft model changes no word of the program, greedy and seeded', async () => {
  await using swarm = new ProgramSwarm([process.execPath, MAIN])
  await swarm.bootstrap()
  await swarm.join('stories260k', '0:5')
  const [{ prompt, text, ids } = { prompt: '', text: '', ids: [] }] = readReferences()
  const args = [prompt, '--raw', '--head', 'f32', '--max-tokens', String(ids.length), '--stats']
  const tell = async (more: readonly string[]): Promise<string> =>
    (await swarm.ask('stories260k', [...args, ...more])).stdout
  const draft = ['--draft', 'stories260k']
  expect(await tell(['--temperature', '0', ...draft])).toBe(text)
  const seeded = ['--seed', '3']
  expect(await tell([...seeded, ...draft])).toBe(await tell([...seeded, '--no-speculate']))
}, 120_000)
