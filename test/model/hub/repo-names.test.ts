// What a name of a hub means, and which files of a repository are taken.
import { expect, test } from 'bun:test'
import { ALIASES } from '../../../src/model/aliases.ts'
import type { ListedFile } from '../../../src/model/hub/hub-tree.ts'
import { chooseFiles, weightNames } from '../../../src/model/hub/repo-files.ts'
import { parseRepoName, repoText } from '../../../src/model/hub/repo-name.ts'

const list = (...paths: string[]): ListedFile[] =>
  paths.map((path) => ({ path, sizeBytes: 1, hash: 'a'.repeat(64) }))

/** Paths of a choice, 'folder', or the code and hint of its refusal. */
function chosen(paths: readonly string[], pick?: string): unknown {
  try {
    const choice = chooseFiles(list(...paths), 'a/b', pick)
    return choice.kind === 'folder' ? 'folder' : choice.files.map((file) => file.path)
  } catch (error) {
    const { code, hint } = error as { code: string; hint: string }
    return `${code}: ${hint}`
  }
}

test('parseRepoName() takes owner/name, a revision and a file', () => {
  expect([
    parseRepoName('a/b'),
    parseRepoName('Qwen/Qwen3-8B@v1.0'),
    parseRepoName('a/b@refs/pr/1:Q4_K_M'),
    parseRepoName('a/b:sub/file.gguf')
  ]).toEqual([
    { repo: 'a/b', revision: 'main', pick: undefined },
    { repo: 'Qwen/Qwen3-8B', revision: 'v1.0', pick: undefined },
    { repo: 'a/b', revision: 'refs/pr/1', pick: 'Q4_K_M' },
    { repo: 'a/b', revision: 'main', pick: 'sub/file.gguf' }
  ])
  for (const name of ['a/b', 'a/b@dev', 'a/b@dev:q8_0']) {
    expect(repoText(parseRepoName(name)!)).toBe(name)
  }
})

test('parseRepoName() takes nothing else', () => {
  for (const name of [
    'a',
    'a/b/c',
    '../b',
    'a/..',
    './b',
    'a/b@',
    'a/b@..',
    'a b/c',
    '/a/b',
    'a/b@x/../y'
  ]) {
    expect(parseRepoName(name)).toBeUndefined()
  }
})

test('safetensors at the root go before a GGUF, unless one is named', () => {
  const files = ['config.json', 'model.safetensors', 'x-q8_0.gguf']
  expect([chosen(files), chosen(files, 'q8_0')]).toEqual(['folder', ['x-q8_0.gguf']])
  expect(chosen(['config.json', 'onnx/model.safetensors', 'x.gguf'])).toEqual(['x.gguf'])
})

test('of several GGUFs the usual one is taken, or the one that is named', () => {
  const files = [
    'm.Q2_K.gguf',
    'm.Q4_K_M.gguf',
    'm.Q4_K_S.gguf',
    'm-mmproj-f16.gguf',
    'q8/m-Q8_0.gguf'
  ]
  expect(chosen(files)).toEqual(['m.Q4_K_M.gguf'])
  expect(chosen(files, 'q4_k_s')).toEqual(['m.Q4_K_S.gguf'])
  expect(chosen(files, 'Q8_0')).toEqual(['q8/m-Q8_0.gguf'])
  expect(chosen(files, 'm.Q2_K.gguf')).toEqual(['m.Q2_K.gguf'])
  expect(chosen(files, 'Q4_K')).toStartWith('NOT_FOUND: It has: m.Q2_K, m.Q4_K_M')
  expect(chosen(['a.gguf', 'b.gguf'])).toBe('BAD_INPUT: Name one as a/b:NAME, of: a, b')
})

test('shards are taken together and in order, and must all be there', () => {
  const shards = [2, 1, 3].map((i) => `big/m-Q4_K_M-0000${i}-of-00003.gguf`)
  expect(chosen(shards)).toEqual(shards.toSorted())
  expect(chosen(shards.slice(1))).toStartWith('NOT_FOUND')
  expect(chosen(['m-00001-of-00002.gguf', 'm-00003-of-00002.gguf'])).toStartWith('NOT_FOUND')
})

test('a repository without weights that are known says so', () => {
  expect(chosen(['config.json', 'pytorch_model.bin'])).toBe(
    'NOT_FOUND: Weights in the old .bin format must be converted first'
  )
})

test('weightNames() follow the index, or are the one file, or all there are', () => {
  const none = (): never => {
    throw new Error('there is no index')
  }
  const index = 'model.safetensors.index.json'
  const map = { a: '2.safetensors', b: '1.safetensors', c: '2.safetensors' }
  const names = ['1.safetensors', '2.safetensors', 'spare.safetensors', 'sub/3.safetensors']
  expect(weightNames([...names, index], 'x', () => map)).toEqual(['1.safetensors', '2.safetensors'])
  expect(weightNames(names, 'x', none)).toEqual(names.slice(0, 3))
  expect(weightNames(['model.safetensors', 'consolidated.safetensors'], 'x', none)).toEqual([
    'model.safetensors'
  ])
  for (const bad of [null, 'x', { a: '../up.safetensors' }, { a: '9.safetensors' }]) {
    expect(() => weightNames([...names, index], 'x', () => bad)).toThrow()
  }
})

test('every alias of a hub names repositories that can be asked for', () => {
  const repos = ALIASES.filter((alias) => alias.kind === 'repo')
  for (const { sources } of repos) {
    expect(sources.length).toBeGreaterThan(0)
    for (const { repo, revision, pick } of sources) {
      const name = { repo, revision: revision ?? 'main', pick }
      expect(parseRepoName(repoText(name))).toEqual(name)
    }
  }
  const names = ALIASES.map((alias) => alias.name)
  expect(new Set(names).size).toBe(names.length)
})
