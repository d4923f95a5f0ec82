// Fetching CUDA's libraries with a pip that the test makes up: a folder appears whole, or not at
// all.
import { expect, test } from 'bun:test'
import { chmod, mkdir, readdir, readFile, watch, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { AppError } from '../../../src/base/errors.ts'
import { silentLog } from '../../../src/base/log.ts'
import { installCuda, type InstallOptions } from '../../../src/cli/doctor/install-cuda.ts'
import { tempFolder } from '../../support/temp-folder.ts'

const FAKE = join(import.meta.dir, '..', '..', 'support', 'fakes', 'fake-cuda-pip.ts')
const MAIN = join(import.meta.dir, '..', '..', '..', 'src', 'cli', 'main.ts')

function options(folder: string, mode: string, more: Partial<InstallOptions> = {}): InstallOptions {
  return {
    root: join(folder, 'cuda'),
    version: '1.30.0',
    log: silentLog,
    platform: 'linux',
    arch: 'x64',
    commands: [[process.execPath, FAKE, mode, join(folder, 'args')]],
    freeBytes: async () => 2 ** 40,
    ...more
  }
}

async function refusal(made: InstallOptions): Promise<AppError> {
  return installCuda(made).then(
    () => {
      throw new Error('Nothing was refused')
    },
    (error: AppError) => error
  )
}

test('what pip lays down appears under its version, and nothing else stays', async () => {
  await using folder = await tempFolder()
  await installCuda(options(folder.path, 'good'))
  const root = join(folder.path, 'cuda')
  expect(await readdir(root)).toEqual(['1.30.0'])
  expect((await readdir(join(root, '1.30.0'))).sort()).toEqual([
    'nvidia',
    'onnxruntime',
    'onnxruntime_gpu-1.30.0.dist-info'
  ])
  const args = JSON.parse(await readFile(join(folder.path, 'args'), 'utf8')) as string[]
  expect(args.slice(0, 2)).toEqual(['install', '--target'])
  expect(args).toContain('--require-hashes')
  // Every package at one version and of one hash: two machines get the same files, or none.
  const pinned = /^[a-z-]+==\d+(\.\d+)+ --hash=sha256:[0-9a-f]{64}$/
  expect(args.filter((arg) => pinned.test(arg)).length).toBe(5)
})

test('libraries that are there already are not fetched again', async () => {
  await using folder = await tempFolder()
  await installCuda(options(folder.path, 'good'))
  await installCuda(options(folder.path, 'fail'))
  expect(await readdir(join(folder.path, 'cuda'))).toEqual(['1.30.0'])
})

test('what a killed installation left is never used, and removed by the next', async () => {
  await using folder = await tempFolder()
  const root = join(folder.path, 'cuda')
  await mkdir(join(root, '.begun-1', 'made', 'onnxruntime'), { recursive: true })
  await mkdir(join(root, '1.30.0', 'onnxruntime'), { recursive: true })
  await installCuda(options(folder.path, 'good'))
  expect(await readdir(root)).toEqual(['1.30.0'])
})

test("a pip that fails leaves nothing to be used, and is told with pip's own reason", async () => {
  await using folder = await tempFolder()
  const { code, message } = await refusal(options(folder.path, 'fail'))
  expect([code, message]).toEqual([
    'UNAVAILABLE',
    "pip cannot bring CUDA's libraries: Could not find a version"
  ])
  expect(await readdir(join(folder.path, 'cuda'))).toEqual([])
})

for (const [mode, what] of [
  ['half', 'libcublas.so.13'],
  ['other', 'provider of version 1.30.0, but of 1.29.0']
] as const) {
  test(`an installation that is ${mode} is refused and removed`, async () => {
    await using folder = await tempFolder()
    const { code, message } = await refusal(options(folder.path, mode))
    expect([code, message]).toEqual(['CORRUPT', `CUDA cannot be installed: pip brought no ${what}`])
    expect(await readdir(join(folder.path, 'cuda'))).toEqual([])
  })
}

test('a machine without pip is told so, and a Python without pip leaves it to the next', async () => {
  await using folder = await tempFolder()
  const none = await refusal(options(folder.path, '', { commands: [['no-such-python-anywhere']] }))
  expect([none.code, none.message, none.hint?.includes('python3-pip')]).toEqual([
    'UNAVAILABLE',
    "pip cannot bring CUDA's libraries: there is no Python and no pip here",
    true
  ])
  const way = (mode: string): string[] => [process.execPath, FAKE, mode, join(folder.path, 'args')]
  await installCuda(options(folder.path, '', { commands: [way('no-pip'), way('good')] }))
  expect(await readdir(join(folder.path, 'cuda'))).toEqual(['1.30.0'])
})

test('too little room and other systems are refused before anything is fetched', async () => {
  await using folder = await tempFolder()
  const full = await refusal(options(folder.path, 'good', { freeBytes: async () => 2e9 }))
  expect([
    full.code,
    full.message.includes('2.7 GiB are needed for a while, 1.9 GiB are free')
  ]).toEqual(['UNAVAILABLE', true])
  const mac = await refusal(options(folder.path, 'good', { platform: 'darwin', arch: 'arm64' }))
  expect([mac.code, mac.hint?.startsWith('Use --device webgpu')]).toEqual(['UNSUPPORTED', true])
})

test('an abort stops pip and leaves nothing', async () => {
  await using folder = await tempFolder()
  const abort = new AbortController()
  const begun = installCuda(options(folder.path, 'hang', { signal: abort.signal }))
  const failed = begun.catch((error: AppError) => error.code)
  for await (const { filename } of watch(folder.path)) if (filename === 'args') break
  abort.abort()
  expect(await failed).toBe('CANCELLED')
  expect(await readdir(join(folder.path, 'cuda'))).toEqual([])
})

test.if(process.platform === 'linux' && process.arch === 'x64')(
  'petals doctor --install-cuda fetches with the pip on PATH, and then finds the provider',
  async () => {
    await using folder = await tempFolder()
    const bin = join(folder.path, 'bin')
    const script = join(bin, 'python3')
    await mkdir(bin)
    const shell = `#!/bin/sh\nshift 2\nexec '${process.execPath}' '${FAKE}' good '${folder.path}/args' "$@"\n`
    await writeFile(script, shell)
    await chmod(script, 0o755)
    const child = Bun.spawn(
      [process.execPath, MAIN, 'doctor', '--install-cuda', '--offline', '--json'],
      { env: { PATH: bin, PETALS_HOME: join(folder.path, 'home') }, stderr: 'pipe' }
    )
    const [text, words] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text()
    ])
    const { checks, devices } = JSON.parse(text) as {
      checks: { name: string; found: string }[]
      devices: Record<string, { works: boolean }>
    }
    const where = join(folder.path, 'home', 'cuda', '1.30.0')
    expect(checks.find(({ name }) => name === 'CUDA provider')?.found).toBe(`1.30.0 in '${where}'`)
    expect(words).toContain(`are in '${where}'`)
    expect([devices['cpu']?.works, await child.exited]).toEqual([true, 0])
  },
  30_000
)
