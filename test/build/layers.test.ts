// scripts/gate/layers.ts over small made-up files: each rule finds its violation and nothing else.
import { describe, expect, test } from 'bun:test'
import { folderFaults, layerFaults, layerFaultsIn, roomOf } from '../../scripts/gate/layers.ts'
import { tempFolder } from '../support/temp-folder.ts'

const HEAD = '// A file.\n'

function faultsOf(path: string, code: string): string[] {
  return layerFaults(path, HEAD + code)
}

describe('layerFaults()', () => {
  test('lets a room import what lies left of it', () => {
    const code = [
      "import { badInput } from '../base/errors.ts'",
      "import type { ModelLocation } from '../model/types.ts'",
      "import { join } from 'node:path'"
    ].join('\n')
    expect(faultsOf('src/blocks/span.ts', code)).toEqual([])
  })

  test('lets the command that plans routes over a swarm use the client', () => {
    const code = "import { b } from '../../client/b.ts'"
    expect(faultsOf('src/cli/run/plan.ts', code)).toEqual([])
    expect(faultsOf('src/cli/plan/a.ts', code)).toEqual([])
  })

  test.each([
    ['src/base/a.ts', '../wire/b.ts', 'base must not import wire'],
    ['src/wire/a.ts', '../model/b.ts', 'wire must not import model'],
    ['src/swarm/a.ts', '../blocks/b.ts', 'swarm must not import blocks'],
    ['src/server/a.ts', '../client/b.ts', 'server must not import client'],
    ['src/client/a.ts', '../cli/b.ts', 'client must not import cli'],
    ['src/blocks/ort/a.ts', '../../server/b.ts', 'blocks must not import server'],
    ['src/udx/a.ts', '../base/b.ts', 'udx stands alone'],
    ['src/swarm/a.ts', '../udx/b.ts', "import 'udx-native' instead"],
    ['src/model/a.ts', '../../test/b.ts', 'lies outside of src'],
    ['src/cli/run/a.ts', '../../client/b.ts', 'a command uses client through the library'],
    ['src/cli/run/plan.ts', '../../here/b.ts', 'a command uses here through the library'],
    ['src/cellar/a.ts', '../base/b.ts', "'cellar' is no room"]
  ])('refuses that %s imports %s', (path, specifier, expected) => {
    const faults = faultsOf(path, `import { b } from '${specifier}'`)
    expect(faults).toHaveLength(1)
    expect(faults[0]).toContain(expected)
    expect(faults[0]).toStartWith(`${path}:2: `)
  })

  test.each([
    ["import type { B } from '../wire/b.ts'"],
    ["export { b } from '../wire/b.ts'"],
    ["import {\n  a,\n  b\n} from '../wire/b.ts'"],
    ["import '../wire/b.ts'"],
    ["const b = await import('../wire/b.ts')"],
    ["new Worker(new URL('../wire/b.ts', import.meta.url))"]
  ])('sees the import in %p', (code) => {
    expect(faultsOf('src/base/a.ts', code).join()).toContain('base must not import wire')
  })

  test('ignores what comments and prose say', () => {
    const code = [
      "// import { b } from '../wire/b.ts'",
      '/*',
      "import { b } from '../wire/b.ts'",
      '*/',
      "const text = 'Date.now is not called, any more: any'",
      '// Math.random is not called either'
    ].join('\n')
    expect(faultsOf('src/base/a.ts', code)).toEqual([])
  })

  test.each([
    ["import { b } from './b'", 'no file ending'],
    ['export default 1', 'default export'],
    ['export { a as default }', 'default export'],
    ['const a: any = 1', "type 'any'"],
    ['const a = b as any', "type 'any'"],
    ['const a = new Map<string, any>()', "type 'any'"],
    ['const a = Date.now()', 'Date.now outside'],
    ['const a = Math.random()', 'Math.random outside'],
    ["const a = process.env['HOME']", 'process.env outside'],
    ["import DHT from 'hyperdht'", "'hyperdht' belongs to swarm"],
    ["import { gguf } from '@huggingface/gguf'", "'@huggingface/gguf' belongs to model"],
    ["import sub from 'hyperdht/lib/errors'", "'hyperdht/lib/errors' belongs to swarm"]
  ])('refuses %p', (code, expected) => {
    const faults = faultsOf('src/server/a.ts', code)
    expect(faults).toHaveLength(1)
    expect(faults[0]).toContain(expected)
  })

  test('lets the clock, the commands and the UDX package read the system', () => {
    const code = "const a = [Date.now(), Math.random(), process.env['HOME']]"
    expect(faultsOf('src/base/clock.ts', code)).toEqual([])
    expect(faultsOf('src/cli/main.ts', code)).toEqual([])
    expect(faultsOf('src/udx/index.ts', code)).toEqual([])
    expect(faultsOf('test/base/a.test.ts', code)).toEqual([])
  })

  test('allows 450 lines and no more', () => {
    expect(faultsOf('src/base/a.ts', 'x()\n'.repeat(449))).toEqual([])
    expect(faultsOf('src/base/a.ts', 'x()\n'.repeat(450))).toEqual([
      'src/base/a.ts:1: 451 lines: over 450'
    ])
  })

  test('wants a file to open with what it is', () => {
    expect(layerFaults('src/base/a.ts', 'export const a = 1\n')).toHaveLength(1)
  })
})

test('roomOf() names the folder below src, and src/index.ts', () => {
  const paths = ['src/base/a.ts', 'src/blocks/ort/api.ts', 'src/index.ts', 'test/base/a.ts']
  expect(paths.map(roomOf)).toEqual(['base', 'blocks', 'index', undefined])
})

test('layerFaultsIn() reads the sources of a folder and no dependency', async () => {
  await using folder = await tempFolder()
  await folder.write('src/base/crooked.ts', "// A.\nimport { b } from '../wire/frame.ts'\n")
  await folder.write('src/udx/node_modules/x/index.ts', 'export default 1\n')
  await folder.write('scripts/straight.ts', '// B.\nexport {}\n')
  expect(await layerFaultsIn(folder.path)).toEqual([
    "src/base/crooked.ts:2: base must not import wire: '../wire/frame.ts'"
  ])
})

test('layerFaultsIn() finds circles inside a room and heads that name no file', async () => {
  await using folder = await tempFolder()
  await folder.write('src/base/a.ts', "// A, which b.ts makes.\nimport { b } from './b.ts'\n")
  await folder.write('src/base/b.ts', "// B.\nimport type { A } from './a.ts'\n")
  await folder.write('src/base/c.ts', '// C, which d.ts makes.\nexport {}\n')
  expect(await layerFaultsIn(folder.path)).toEqual([
    "src/base/c.ts:1: names 'd.ts', which does not exist",
    'src/base/a.ts:1: imports go in a circle: src/base/a.ts -> src/base/b.ts -> src/base/a.ts'
  ])
})

test('folderFaults() wants at most 20 files at the root of a folder', () => {
  const files = (count: number): string[] =>
    Array.from({ length: count }, (_, i) => `src/a/${i}.ts`)
  expect(folderFaults([...files(20), 'src/a/b/c.ts'])).toEqual([])
  expect(folderFaults(files(21))).toEqual(['src/a: 21 files: over 20; make folders by topic'])
})
