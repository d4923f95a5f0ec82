// What --version says when run from source.
import { expect, test } from 'bun:test'
import { readBuildInfo, versionText } from '../../src/base/version.ts'

test('readBuildInfo() finds versions and commit in the tree', () => {
  const info = readBuildInfo('linux-arm64')
  expect(info.bun).toBe(Bun.version)
  expect(info.target).toBe('linux-arm64')
  expect(info.commit).toMatch(/^([0-9a-f]{12}(-dirty)?|unknown)$/)
  for (const version of [info.version, info.onnxruntime, info.hyperdht]) {
    expect(version).toMatch(/^\d+\.\d+\.\d+/)
  }
})

test('versionText() gives one line for the program and one for each runtime', () => {
  const info = {
    version: '1.2.3',
    commit: 'abc-dirty',
    target: 'linux-x64',
    bun: '1.4.5',
    onnxruntime: '1.30.0',
    hyperdht: '6.34.0'
  }
  expect(versionText(info)).toBe(
    'petals 1.2.3 (abc-dirty, linux-x64)\nbun 1.4.5\nonnxruntime 1.30.0\nhyperdht 6.34.0'
  )
})
