// The environment of the hub's own tools, and the line that a download shows.
import { expect, test } from 'bun:test'
import { hubOptions } from '../../src/library/open/hub-env.ts'
import { transferLine, transferText } from '../../src/library/open/transfer-line.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'
import { tempFolder } from '../support/temp-folder.ts'

test('hubOptions() takes endpoint, token and home, or their usual places', async () => {
  await using folder = await tempFolder()
  expect(await hubOptions({}, folder.path)).toEqual({ home: `${folder.path}/.cache/huggingface` })
  expect(
    await hubOptions({ HF_ENDPOINT: 'http://h', HF_TOKEN: ' t1\n', HF_HOME: '/hf' }, folder.path)
  ).toEqual({ endpoint: 'http://h', token: 't1', home: '/hf' })
  const home = `${folder.path}/caches/huggingface`
  await folder.write('caches/huggingface/token', 't2\n')
  expect(await hubOptions({ XDG_CACHE_HOME: `${folder.path}/caches` })).toEqual({
    home,
    token: 't2'
  })
  const path = await folder.write('elsewhere', 't3')
  expect(await hubOptions({ HF_HOME: home, HF_TOKEN_PATH: path })).toEqual({ home, token: 't3' })
  await folder.write('elsewhere', 'two lines\nof words')
  expect(await hubOptions({ HF_HOME: home, HF_TOKEN_PATH: path })).toEqual({ home })
})

test('transferText() shows a bar, and speed and rest once they are known', () => {
  const half = { doneBytes: 512 * 2 ** 20, totalBytes: 2 ** 30 }
  expect([
    transferText('m', half),
    transferText('m', half, 2 ** 20),
    transferText('m', { doneBytes: 0, totalBytes: 40 * 2 ** 30 }, 2 ** 20),
    transferText('m', { doneBytes: 3, totalBytes: 3 }, 1)
  ]).toEqual([
    'm: [##########----------] 512.0 MiB of 1.0 GiB',
    'm: [##########----------] 512.0 MiB of 1.0 GiB, 1.0 MiB/s, 9 min left',
    'm: [--------------------] 0 B of 40.0 GiB, 1.0 MiB/s, 11.4 h left',
    'm: [####################] 3 B of 3 B, 1 B/s, 0 s left'
  ])
})

test('transferLine() measures from where it began, not what was there before', async () => {
  const clock = new FakeClock()
  const shown: string[] = []
  const show = transferLine(
    { update: (text) => shown.push(text), stage() {}, done() {} },
    'm',
    clock
  )
  show({ doneBytes: 1000, totalBytes: 5000 })
  await clock.advance(2000)
  show({ doneBytes: 3000, totalBytes: 5000 })
  expect(shown.at(-1)).toEndWith('1000 B/s, 2 s left')
})
