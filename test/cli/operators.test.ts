// What a server shows its operator: metrics, health, a log for machines, and how it ends.
import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { Program } from '../../scripts/processes.ts'
import { parseMetricsPort } from '../../src/cli/metrics-port.ts'
import { tempFolder } from '../support/temp-folder.ts'

const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')
const MS = 60_000

interface Line {
  event?: string
  level: string
  message: string
  [name: string]: unknown
}

test('a server counts and tells what it serves, in JSON when asked to', async () => {
  await using folder = await tempFolder()
  const start = (name: string, args: readonly string[]): Program => {
    const env = { PATH: process.env['PATH'] ?? '', PETALS_HOME: join(folder.path, name) }
    return new Program([process.execPath, main, ...args], { env })
  }
  await using bootstrap = start('bootstrap', ['bootstrap', '--port', '0'])
  const [, address = ''] = await bootstrap.match('stdout', /^(\S+:\d+)$/m, MS)
  const swarm = ['--bootstrap', address, '--log-format', 'json']
  await using server = start('server', ['join', 'stories260k', '--metrics-port', '0', ...swarm])
  const [, url = ''] = await server.match('stderr', /metrics at (http:\S+)\/metrics/, MS)
  await server.match('stderr', /"event":"ready"/, MS)
  const health = await fetch(`${url}/health`)
  expect([health.status, await health.json()]).toEqual([
    200,
    expect.objectContaining({ status: 'ok', model: 'stories260k', blocks: { start: 0, end: 5 } })
  ])
  const ask = ['chat', 'stories260k', 'Once', '--raw', '--max-tokens', '8', '--here', 'none']
  await using chat = start('client', [...ask, ...swarm])
  const { code, stderr } = await chat.end(MS)
  expect([code, JSON.parse(stderr)]).toEqual([
    0,
    expect.objectContaining({ level: 'info', message: expect.stringContaining('was cut') })
  ])
  await server.match('stderr', /"event":"closed"/, MS)
  const metrics = await (await fetch(`${url}/metrics`)).text()
  expect(metrics).toMatch(/^petals:sessions_ended_total\{reason="done"\} 1$/m)
  expect(metrics).toMatch(/^petals:steps_total [1-9]/m)
  server.signal('SIGTERM')
  const ending = await server.end(MS)
  const lines = ending.stderr
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
  expect(ending.code).toBe(0)
  expect(lines.flatMap(({ event }) => event ?? [])).toEqual([
    'joining',
    'ready',
    'opened',
    'closed',
    'served',
    'ended'
  ])
  expect(lines.at(-2)).toMatchObject({ sessions: 1, peers: 1, refused: 0 })
  await using wrong = start('server', ['join', 'nosuch', '--log-format', 'json'])
  const said = (await wrong.end(MS)).stderr.trim().split('\n')
  expect(said.map((line) => JSON.parse(line) as Line)).toMatchObject([
    { level: 'info', message: 'opening nosuch' },
    { level: 'error', code: 'NOT_FOUND', exitCode: 3 }
  ])
}, 120_000)

test('parseMetricsPort() takes a port, on loopback unless an address of this machine is given', () => {
  expect(['9400', '0.0.0.0:0', '[::1]:9400', '::1:9400'].map(parseMetricsPort)).toEqual([
    { host: '127.0.0.1', port: 9400 },
    { host: '0.0.0.0', port: 0 },
    { host: '::1', port: 9400 },
    { host: '::1', port: 9400 }
  ])
  for (const wrong of ['', 'x', '70000', 'example.com:9400', '1.2.3.4', '9400:']) {
    expect(() => parseMetricsPort(wrong)).toThrow('--metrics-port cannot be')
  }
})
