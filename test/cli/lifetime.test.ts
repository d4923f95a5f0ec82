// Signals: what was ignored when the program began stays ignored, and a server that ends says why.
import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { Program } from '../../scripts/processes.ts'
import { interruptible, isIgnoredIn } from '../../src/cli/lifetime.ts'

const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')
const MS = 60_000

test('isIgnoredIn() reads the mask of ignored signals', () => {
  const status = 'Name:\tpetals\nSigIgn:\t0000000001001006\nSigCgt:\t0000000180004a02\n'
  expect([1, 2, 3, 13, 15].map((signal) => isIgnoredIn(status, signal))).toEqual([
    false,
    true,
    true,
    true,
    false
  ])
  expect(isIgnoredIn('nothing', 1)).toBe(false)
})

test('interruptible() puts no handler over a signal that is ignored', () => {
  const before = process.listenerCount('SIGHUP')
  const life = interruptible((name) => name === 'SIGHUP')
  expect(process.listenerCount('SIGHUP')).toBe(before)
  life.stop()
})

test.skipIf(process.platform !== 'linux')(
  'a server outlives what it was told to ignore, and says why it ends at every log level',
  async () => {
    const run = `"${process.execPath}" "${main}" bootstrap --port 0 --log-level error`
    // As nohup and a shell's background jobs start programs.
    const line = `trap '' HUP INT; exec ${run}`
    await using server = new Program(['sh', '-c', line])
    const [, port = ''] = await server.match('stdout', /:(\d+)$/m, MS)
    server.signal('SIGHUP')
    server.signal('SIGINT')
    // It answers: a second node finds it after the signals.
    const start = ['--port', '0', '--bootstrap', `127.0.0.1:${port}`]
    await using other = new Program([process.execPath, main, 'bootstrap', ...start])
    await other.match('stdout', /:\d+$/m, MS)
    server.signal('SIGTERM')
    const { code, stderr } = await server.end(MS)
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(/^ended: [\d-]{10} [\d:]{8} told to by SIGTERM\n$/)
    })
    other.signal('SIGINT')
    expect((await other.end(MS)).stderr).toMatch(/^ended: .* Ctrl-C \(SIGINT\)\n$/m)
  },
  2 * MS
)

test('stdout that cannot be written to ends help and servers with words', async () => {
  for (const words of ['--help', 'chat --help', '--version', 'bootstrap --port 0']) {
    const line = `"${process.execPath}" "${main}" ${words} > /dev/full`
    await using program = new Program(['sh', '-c', line])
    const { code, stderr } = await program.end(MS)
    expect({ words, code, stderr }).toEqual({
      words,
      code: 6,
      stderr: expect.stringMatching(/^error: stdout cannot be written: .*\n$/)
    })
  }
})
