// What package.json says of the project is so: its command and its licence.
import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { versionText } from '../../src/base/version.ts'
import manifest from '../../package.json'

const root = join(import.meta.dir, '..', '..')

test('the command that is installed runs by itself', async () => {
  const child = Bun.spawn([join(root, manifest.bin.petals), '--version'], {
    env: { ...process.env, PATH: `${join(process.execPath, '..')}:${process.env['PATH']}` },
    stdout: 'pipe'
  })
  expect(await new Response(child.stdout).text()).toMatch(
    new RegExp(`^${RegExp.escape(versionText())}\nkernels petals-\\d+, .+\n$`)
  )
  expect(await child.exited).toBe(0)
})

test('the licence that package.json names is there', async () => {
  expect(manifest.license).toBe('Apache-2.0')
  const text = await Bun.file(join(root, 'LICENSE')).text()
  expect(text).toStartWith('                                 Apache License\n')
  expect(text).toContain('Version 2.0, January 2004')
})
