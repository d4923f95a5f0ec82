// What a hub says before a byte of weights is read: lists, refusals, gates, and aliases with two
// sources.
import { expect, test } from 'bun:test'
import { toHex } from '../../../src/base/bytes.ts'
import { hubHeaders } from '../../../src/model/hub/hub.ts'
import { createLog } from '../../../src/base/log.ts'
import type { RepoAlias } from '../../../src/model/aliases.ts'
import { hubRepo } from '../../support/models/hub-repo.ts'
import {
  failure,
  openRemote,
  remoteOptions,
  storiesFolderFiles,
  storiesGgufBytes
} from '../../support/models/remote-model.ts'
import { tempFolder } from '../../support/temp-folder.ts'

const FILES = { 'stories.gguf': await storiesGgufBytes() }
const FOLDER = await storiesFolderFiles(2)

test('a gated repository says where to ask, and opens with the right token', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: FILES, token: 'secret' })
  const error = await failure(openRemote(hub.repo, remoteOptions(folder, hub)))
  expect({ code: error.code, hint: error.hint }).toEqual({
    code: 'DENIED',
    hint: `Accept its licence at ${hub.url}/some/model, then set HF_TOKEN to a token of that account`
  })
  const wrong = remoteOptions(folder, hub, { hub: { token: 'wrong' } })
  expect((await failure(openRemote(hub.repo, wrong))).message).toContain('this HF_TOKEN')
  const right = remoteOptions(folder, hub, { hub: { token: 'secret' } })
  const model = await openRemote(hub.repo, right)
  await model.ensure(model.tensors.list().map((info) => info.name))
  expect(hub.store.requests.length).toBeGreaterThan(1)
  expect(hub.store.requests.some(({ headers }) => 'authorization' in headers)).toBe(false)
})

test('a gated alias is taken from its open source, and the log says so', async () => {
  await using folder = await tempFolder()
  await using gated = await hubRepo({ repo: 'gated/original', files: FOLDER, token: 'secret' })
  await using open = await hubRepo({ repo: 'open/copy', files: FILES })
  // One address for both, as a hub has.
  const fetchBoth = (url: string, init: RequestInit): Promise<Response> =>
    fetch(url.includes('/open/copy/') ? url.replace(gated.url, open.url) : url, init)
  const sources = [{ repo: 'gated/original' }, { repo: 'open/copy' }]
  const alias: RepoAlias = { name: 'both', title: '', licence: 'MIT', kind: 'repo', sources }
  const lines: string[] = []
  const options = remoteOptions(folder, gated, {
    aliases: [alias],
    fetch: fetchBoth,
    log: createLog('info', (line) => lines.push(line))
  })
  const model = await openRemote('both', options)
  expect(model.location.kind).toBe('gguf')
  expect(lines).toEqual([
    expect.stringMatching(/taken from open\/copy: 'gated\/original' is gated/)
  ])
  const offline = await openRemote('BOTH', {
    ...options,
    fetch: () => Promise.reject(new Error('no network'))
  })
  expect(toHex(offline.contentId)).toBe(toHex(model.contentId))
  const token = { ...options, hub: { ...options.hub, token: 'secret' } }
  expect((await openRemote('both', token)).location.kind).toBe('folder')
})

test('a silent hub does not move an alias to another source', async () => {
  await using folder = await tempFolder()
  const sources = [{ repo: 'first/one' }, { repo: 'second/one' }]
  const alias: RepoAlias = { name: 'both', title: '', licence: 'MIT', kind: 'repo', sources }
  const asked: string[] = []
  const error = await failure(
    openRemote('both', {
      ...remoteOptions(folder, { url: 'http://127.0.0.1:1' }, { aliases: [alias] }),
      fetch: (url) => {
        asked.push(url)
        return Promise.reject(new Error('no network'))
      }
    })
  )
  expect(error.code).toBe('UNAVAILABLE')
  expect(asked.every((url) => url.includes('first/one'))).toBe(true)
})

for (const [status, headers, code] of [
  [404, {}, 'NOT_FOUND'],
  [401, { 'x-error-code': 'RepoNotFound' }, 'NOT_FOUND'],
  [404, { 'x-error-code': 'RevisionNotFound' }, 'NOT_FOUND'],
  [401, {}, 'DENIED'],
  [403, {}, 'DENIED'],
  [429, { 'retry-after': '3600' }, 'BUSY'],
  [500, {}, 'UNAVAILABLE'],
  [200, {}, 'CORRUPT']
] as const) {
  const why = Object.values(headers).join()
  test(`a list answered with ${status} ${why} is ${code}`, async () => {
    await using folder = await tempFolder()
    const body = Buffer.from('<html>welcome</html>')
    await using hub = await hubRepo({ files: FILES, onhub: () => ({ status, headers, body }) })
    const error = await failure(openRemote(hub.repo, remoteOptions(folder, hub)))
    expect({ code: error.code, hasHint: error.hint !== undefined || status === 500 }).toEqual({
      code,
      hasHint: true
    })
  })
}

test('a list of several pages is read to its end, and not on another host', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({ files: FOLDER, pageSize: 2 })
  const model = await openRemote(hub.repo, remoteOptions(folder, hub))
  expect(model.files.length).toBe(2)
  await using other = await hubRepo({
    files: FILES,
    onhub: () => ({
      status: 200,
      headers: { link: '<http://localhost:1/more>; rel="next"' },
      body: Buffer.from('[]')
    })
  })
  const error = await failure(openRemote(other.repo, remoteOptions(folder, other)))
  expect(error.code).toBe('CORRUPT')
})

test('listed names that lead elsewhere are not followed', async () => {
  await using folder = await tempFolder()
  await using hub = await hubRepo({
    files: { '../../evil.gguf': FILES['stories.gguf'], 'a\\b.gguf': FILES['stories.gguf'] }
  })
  const error = await failure(openRemote(hub.repo, remoteOptions(folder, hub)))
  expect({ code: error.code, requests: hub.hub.requests.length }).toEqual({
    code: 'NOT_FOUND',
    requests: 1
  })
})

test('a token goes over https or to this machine, and nowhere else', () => {
  const sent = (endpoint?: string): boolean =>
    'authorization' in hubHeaders({ token: 't', ...(endpoint === undefined ? {} : { endpoint }) })
  expect([
    sent(),
    sent('https://hub.example'),
    sent('http://127.0.0.1:8080'),
    sent('http://localhost'),
    sent('http://[::1]:1')
  ]).toEqual([true, true, true, true, true])
  expect([
    sent('http://hub.example'),
    sent('http://127.0.0.1.example'),
    sent('http://localhost.example')
  ]).toEqual([false, false, false])
})
