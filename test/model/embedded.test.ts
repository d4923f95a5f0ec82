// The built-in model inside a compiled executable, where its files can only be read whole.
import { expect, test } from 'bun:test'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { toHex } from '../../src/base/bytes.ts'
import { ALIASES, type FileAlias } from '../../src/model/aliases.ts'
import { openModel } from '../../src/model/open-model.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { tempFolder } from '../support/temp-folder.ts'

const repository = join(import.meta.dir, '..', '..')

test('an executable puts its built-in model into the cache, also when three start at once', async () => {
  await using folder = await tempFolder()
  const probe = join(folder.path, 'probe')
  const build = await Bun.build({
    entrypoints: [join(repository, 'test', 'support', 'embedded-probe.ts')],
    compile: { outfile: probe }
  })
  expect(build.success).toBe(true)
  const cache = join(folder.path, 'cache')
  const run = async (): Promise<unknown> => {
    const process = Bun.spawn([probe, cache], { cwd: folder.path, stderr: 'pipe' })
    const words = await new Response(process.stderr).text()
    expect({ exit: await process.exited, words }).toEqual({ exit: 0, words: '' })
    return await new Response(process.stdout).json()
  }
  const alias = ALIASES.find((each) => each.name === 'stories260k') as FileAlias
  const { files } = alias
  const paths = files.map((file) => join(cache, 'models', file.sha256, file.name))
  const id = toHex((await openModel(storiesLocation)).contentId)
  const wanted = { paths, id, bos: 1 }
  expect(await Promise.all([run(), run(), run()])).toEqual([wanted, wanted, wanted])
  expect(files.map((file) => readdirSync(join(cache, 'models', file.sha256)))).toEqual(
    files.map((file) => [file.name])
  )
}, 60_000)
