// scripts/gate/reached.ts over files of its own, and over the tests that it decides about.
import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { reachedFrom } from '../../scripts/gate/reached.ts'
import { tempFolder } from '../support/temp-folder.ts'

const root = join(import.meta.dir, '..', '..')

test('what is imported by what is imported is reached, in circles too; types and packages are not', async () => {
  await using folder = await tempFolder()
  await folder.write(
    'a.ts',
    "import { b } from './b.ts'\nimport type { T } from './types.ts'\nimport 'node:fs'\nb()"
  )
  await folder.write(
    'b.ts',
    "import { a } from './a.ts'\nexport const b = () => import('./c.ts')\na()"
  )
  await folder.write('c.ts', "new Worker(new URL('./d.ts', import.meta.url))")
  await folder.write('d.ts', '')
  await folder.write('types.ts', 'export type T = string')
  const { files, starters } = reachedFrom(folder.path, 'a.ts')
  expect([...files].sort()).toEqual(['a.ts', 'b.ts', 'c.ts', 'd.ts'])
  expect(starters).toEqual([])
})

test('a file whose import starts programs is told', async () => {
  await using folder = await tempFolder()
  await folder.write('a.ts', "import { run } from './run.ts'\nrun()")
  await folder.write('run.ts', "export const run = () => Bun.spawn(['true'])")
  expect(reachedFrom(folder.path, 'a.ts').starters).toEqual(['run.ts'])
})

test('tests that open a compute worker reach the kernels, those of pure routes do not', () => {
  const reachesKernels = (file: string): boolean =>
    reachedFrom(root, file).files.has('src/kernels/load.ts')
  expect(reachesKernels('test/blocks/compute.test.ts')).toBe(true)
  expect(reachesKernels('test/client/route/route.test.ts')).toBe(false)
})
