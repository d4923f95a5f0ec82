import { expect, test } from 'bun:test'
import { chmod, readdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { replaceFile, requireReplaceable } from '../../src/base/files/replace-file.ts'
import { tempFolder } from '../support/temp-folder.ts'

const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777

test('a new file is for its owner alone, and one that is there keeps its mode', async () => {
  await using folder = await tempFolder()
  const [fresh, shared] = [join(folder.path, 'fresh'), await folder.write('shared', 'before')]
  await chmod(shared, 0o644)
  await replaceFile(fresh, 'one')
  await replaceFile(shared, 'two')
  expect([await readFile(fresh, 'utf8'), await modeOf(fresh)]).toEqual(['one', 0o600])
  expect([await readFile(shared, 'utf8'), await modeOf(shared)]).toEqual(['two', 0o644])
  expect((await readdir(folder.path)).sort()).toEqual(['fresh', 'shared'])
})

test('a link stays, and what it leads to is written, there already or not', async () => {
  await using folder = await tempFolder()
  const target = await folder.write('real/there', 'before')
  const [one, two] = [join(folder.path, 'one'), join(folder.path, 'two')]
  await symlink('real/there', one)
  await symlink('real/new', two)
  await replaceFile(one, 'after')
  await replaceFile(two, 'made')
  expect([await readlink(one), await readFile(target, 'utf8')]).toEqual(['real/there', 'after'])
  expect([await readlink(two), await readFile(join(folder.path, 'real/new'), 'utf8')]).toEqual([
    'real/new',
    'made'
  ])
})

test('links that lead in a circle are refused', async () => {
  await using folder = await tempFolder()
  await symlink('b', join(folder.path, 'a'))
  await symlink('a', join(folder.path, 'b'))
  await expect(replaceFile(join(folder.path, 'a'), 'x')).rejects.toMatchObject({ code: 'ELOOP' })
})

test('a file that a program could foresee beside it is not touched', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'talk.json')
  const victim = await folder.write('victim', 'precious')
  await symlink(victim, `${path}.${process.pid}.tmp`)
  await replaceFile(path, 'text')
  await requireReplaceable(path)
  expect(await readFile(victim, 'utf8')).toBe('precious')
})

// Root may write everywhere.
test.skipIf(process.getuid?.() === 0)(
  'a file in a folder that may not be written is written in place',
  async () => {
    await using folder = await tempFolder()
    const path = await folder.write('closed/talk.json', 'a longer text')
    await chmod(join(folder.path, 'closed'), 0o555)
    await requireReplaceable(path)
    await replaceFile(path, 'short')
    const text = await readFile(path, 'utf8')
    await chmod(join(folder.path, 'closed'), 0o755)
    expect(text).toBe('short')
  }
)

test('what cannot be written leaves nothing behind', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'none', 'talk.json')
  await expect(replaceFile(path, 'x')).rejects.toMatchObject({ code: 'ENOENT' })
  await expect(requireReplaceable(path)).rejects.toMatchObject({ code: 'ENOENT' })
  await writeFile(join(folder.path, 'file'), '')
  await expect(requireReplaceable(join(folder.path, 'file', 'x'))).rejects.toMatchObject({
    code: 'ENOTDIR'
  })
  expect(await readdir(folder.path)).toEqual(['file'])
})
