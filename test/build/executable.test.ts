// An executable compiled in the product's way, alone in a folder: everything native in it works
// there.
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { copyFile, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buildExecutable } from '../../scripts/build/build-executable.ts'
import { hostTarget } from '../../scripts/build/targets.ts'
import { tempFolder, type TempFolder } from '../support/temp-folder.ts'

interface Failure {
  code: string
  message: string
  hint?: string
}

const root = join(import.meta.dir, '..', '..')
const EMPTY_BLAKE2B = '0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8'
let built: TempFolder
let probe: string

beforeAll(async () => {
  built = await tempFolder()
  probe = join(built.path, 'probe')
  await buildExecutable({
    target: hostTarget()!,
    outfile: probe,
    entries: [
      join(import.meta.dir, 'probe.ts'),
      join(import.meta.dir, 'probe-worker.ts'),
      join(root, 'src/blocks/worker.ts')
    ]
  })
}, 120_000)

afterAll(async () => {
  await built[Symbol.asyncDispose]()
})

/** Runs the probe from `folder` with nothing of ours in its environment but a home. */
async function ask(folder: string, name: string, home = join(folder, 'home')): Promise<unknown> {
  const child = Bun.spawn([probe, name], {
    cwd: folder,
    env: { HOME: home, PETALS_HOME: home },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe'
  })
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited
  ])
  if (code !== 0) throw new Error(`The probe ended with ${code}: ${err}`)
  return (JSON.parse(out) as Record<string, unknown>)[name]
}

async function libraryFiles(home: string): Promise<string[]> {
  const files = await readdir(join(home, 'cache', 'lib'), { recursive: true, withFileTypes: true })
  return files.filter((file) => file.isFile()).map((file) => join(file.parentPath, file.name))
}

test('the version names commit and runtimes without a source tree', async () => {
  await using folder = await tempFolder()
  const commit = Bun.spawnSync(['git', 'rev-parse', '--short=12', 'HEAD'], { cwd: root })
  const text = String(await ask(folder.path, 'version'))
  expect(text).toContain(commit.success ? commit.stdout.toString().trim() : 'unknown')
  expect(text).toContain(`bun ${Bun.version}`)
  expect(text).toMatch(/^onnxruntime \d+\.\d+\.\d+$/m)
  expect(text).toMatch(/^hyperdht \d+\.\d+\.\d+$/m)
})

test('asking for the version unpacks nothing', async () => {
  await using folder = await tempFolder()
  await ask(folder.path, 'version')
  expect(await readdir(folder.path)).toEqual([])
})

test('libsodium hashes', async () => {
  await using folder = await tempFolder()
  expect(await ask(folder.path, 'sodium')).toBe(EMPTY_BLAKE2B)
})

test('onnxruntime answers with the version that was built in', async () => {
  await using folder = await tempFolder()
  const version = String(await ask(folder.path, 'version'))
  expect(version).toContain(`onnxruntime ${String(await ask(folder.path, 'onnxruntime'))}`)
  const [library = ''] = await libraryFiles(join(folder.path, 'home'))
  expect((await stat(join(library, '..'))).mode & 0o777).toBe(0o700)
  expect((await stat(library)).mode & 0o777).toBe(0o755)
})

test('a worker starts from its own entry', async () => {
  await using folder = await tempFolder()
  expect(await ask(folder.path, 'worker')).toBe('worker heard hello')
})

test('the compute worker runs a step of the embedded model', async () => {
  await using folder = await tempFolder()
  const answer = String(await ask(folder.path, 'compute'))
  expect(Number(answer)).toBeGreaterThan(0)
})

test('a record crosses a DHT over our UDX', async () => {
  await using folder = await tempFolder()
  expect(await ask(folder.path, 'dht')).toBe('written')
})

test('eight that start at once unpack one whole library', async () => {
  await using folder = await tempFolder()
  const names = ['onnxruntime', 'sodium', 'onnxruntime', 'sodium']
  const answers = await Promise.all([...names, ...names].map((name) => ask(folder.path, name)))
  expect(new Set(answers).size).toBe(2)
  expect(answers).toContain(EMPTY_BLAKE2B)
  expect(await libraryFiles(join(folder.path, 'home'))).toHaveLength(2)
})

test('a library that was cut short or changed is unpacked again', async () => {
  await using folder = await tempFolder()
  await ask(folder.path, 'sodium')
  const [library = ''] = await libraryFiles(join(folder.path, 'home'))
  const whole = await readFile(library)
  await truncate(library, 1000)
  expect(await ask(folder.path, 'sodium')).toBe(EMPTY_BLAKE2B)
  const changed = Buffer.from(whole)
  changed[5000] = ~changed[5000]!
  await writeFile(library, changed)
  expect(await ask(folder.path, 'sodium')).toBe(EMPTY_BLAKE2B)
  expect(whole.equals(await readFile(library))).toBe(true)
})

test.each(['sodium', 'onnxruntime'])(
  '%s says what to do about an unwritable cache',
  async (name) => {
    await using folder = await tempFolder()
    // A file where the folder should be: it stops root as well.
    const home = await folder.write('home', 'in the way')
    const failure = (await ask(folder.path, name, home)) as Failure
    expect(failure.code).toBe('DENIED')
    expect(failure.message).toContain(home)
    expect(failure.hint).toContain('PETALS_HOME')
  }
)

test('files in the folder where it starts change nothing', async () => {
  await using folder = await tempFolder()
  await folder.write('.env', 'PETALS_TEST_DOTENV=read')
  await folder.write('bunfig.toml', 'preload = ["./evil.ts"]')
  await folder.write('evil.ts', "process.env['PETALS_TEST_DOTENV'] = 'run'")
  await folder.write('package.json', '{ "type": "commonjs" }')
  expect(await ask(folder.path, 'environment')).toBe('unset')
})

test('runs from another name and place, and names no folder of its builder', async () => {
  await using folder = await tempFolder()
  const copy = join(folder.path, 'another name')
  await copyFile(probe, copy)
  const { stdout } = Bun.spawnSync([copy, 'worker'], { cwd: '/', env: { HOME: folder.path } })
  expect(stdout.toString()).toBe('{"worker":"worker heard hello"}\n')
  expect((await readFile(probe)).indexOf(root)).toBe(-1)
})
