// bun scripts/bench/bench-weights.ts [--mb 64] [--rounds 3]
// How fast weights come from a hub on this machine, from one peer and from two, and how much slower
// a chat is while its servers give them. All in one run: compare ratios, as times are those of this
// machine. Medians of the rounds.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { hubRepo } from '../../test/support/models/hub-repo.ts'
import { spreadGgufBytes } from '../../test/support/models/remote-model.ts'
import { killPrograms, Program } from '../processes.ts'
import { median } from '../net/swarm-programs.ts'

const READY_MS = 90_000
const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')
const { values } = scriptArguments(import.meta.path, {
  options: { mb: { type: 'string', default: '64' }, rounds: { type: 'string', default: '3' } }
})
const rounds = Number(values.rounds)
const folder = mkdtempSync(join(tmpdir(), 'petals-bench-weights-'))

async function bench(stack: AsyncDisposableStack): Promise<void> {
  const file = await spreadGgufBytes(Math.ceil((Number(values.mb) * 2 ** 20) / 5 / 32) * 32)
  const hub = stack.use(await hubRepo({ files: { 'stories.gguf': file } }))
  const start = (name: string, args: readonly string[], input = ''): Program => {
    const home = join(folder, name)
    const env = { PATH: process.env['PATH'] ?? '', HOME: home, PETALS_HOME: home }
    const all = { ...env, HF_ENDPOINT: hub.url }
    return stack.use(new Program([process.execPath, main, ...args], { env: all, input }))
  }
  const [, address = ''] = await start('bootstrap', ['bootstrap', '--port', '0']).match(
    'stdout',
    /^(\d+(?:\.\d+){3}:\d+)\s*$/m,
    READY_MS
  )
  const via = ['--bootstrap', address]
  const pull = async (...more: readonly string[]): Promise<number> => {
    rmSync(join(folder, 'taker'), { recursive: true, force: true })
    const begin = performance.now()
    const { code, stderr } = await start('taker', ['pull', 'some/model', ...more]).end(600_000)
    if (code !== 0) throw new Error(`The pull ended with ${code}: ${stderr}`)
    return (performance.now() - begin) / 1000
  }
  const many = async (...more: readonly string[]): Promise<number> => {
    const times: number[] = []
    for (let i = 0; i < rounds; i++) times.push(await pull(...more))
    return median(times)
  }
  const serve = async (name: string): Promise<void> => {
    await start(name, ['pull', 'some/model']).end(600_000)
    const options = ['--blocks', '0:5', '--threads', '1', '--upload-limit', '1000m']
    const server = start(name, ['join', 'some/model', ...via, ...options])
    await server.match('stderr', /^ready\b/m, READY_MS)
  }
  const chat = async (): Promise<number> => {
    const options = ['--raw', '--temperature', '0', '--max-tokens', '200', '--no-speculate']
    const args = [
      'chat',
      'some/model',
      'Once upon a time',
      '--here',
      'none',
      ...via,
      ...options,
      '--stats'
    ]
    const { stderr } = await start('client', args).end(600_000)
    return Number(/([\d.]+) tokens\/s/.exec(stderr)?.[1] ?? Number.NaN)
  }

  const mib = file.byteLength / 2 ** 20
  const row = (what: string, seconds: number, of: number): void => {
    const speed = (mib / seconds).toFixed(1)
    console.log(`${what.padEnd(28)} ${speed.padStart(7)} MiB/s  ${(of / seconds).toFixed(2)}`)
  }
  console.log(`${mib.toFixed(0)} MiB, a whole pull with its start, its hashing and its end`)
  const byHub = await many()
  row('hub alone', byHub, byHub)
  for (const [name, what] of [
    ['one', 'one peer, and a sample'],
    ['two', 'two peers, and a sample']
  ] as const) {
    await serve(name)
    row(what, await many(...via), byHub)
  }
  const quiet: number[] = []
  const beside: number[] = []
  await chat()
  for (let i = 0; i < rounds; i++) {
    quiet.push(await chat())
    const over = new AbortController()
    const pulling = (async (): Promise<void> => {
      while (!over.signal.aborted) await pull(...via)
    })()
    beside.push(await chat())
    over.abort()
    await pulling
  }
  const [alone, shared] = [median(quiet), median(beside)]
  console.log(
    `chat ${alone.toFixed(1)} tokens/s, ${shared.toFixed(1)} while its servers give weights: ${(shared / alone).toFixed(2)}`
  )
}

try {
  await using stack = new AsyncDisposableStack()
  await bench(stack)
} finally {
  killPrograms()
  rmSync(folder, { recursive: true, force: true })
}
process.exit(0)
