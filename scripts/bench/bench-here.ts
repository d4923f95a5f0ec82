// bun scripts/bench/bench-here.ts [--petals ./petals] [--model smollm2-135m] [--runs 9]
// Time from starting `petals chat` to its first letter, when all blocks are computed by the process
// itself: while nobody answers in the DHT, while a DHT without servers does, and with --here all,
// in turn. One run before them makes what is kept in the cache. Prints medians and the fastest.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { median, ProgramSwarm } from '../net/swarm-programs.ts'

const { values } = scriptArguments(import.meta.path, {
  options: {
    petals: { type: 'string', default: join(import.meta.dir, '..', '..', 'petals') },
    model: { type: 'string', default: 'smollm2-135m' },
    runs: { type: 'string', default: '9' }
  }
})
/** Where nobody listens. */
const NOBODY = '127.0.0.1:9'
const home = mkdtempSync(join(tmpdir(), 'petals-here-'))
await using swarm = new ProgramSwarm([values.petals])

/** ms to the first letter of the answer. */
async function firstLetter(more: readonly string[]): Promise<number> {
  const fixed = ['--temperature', '0', '--max-tokens', '1']
  const began = performance.now()
  const child = Bun.spawn([values.petals, 'chat', values.model, 'Hello', ...fixed, ...more], {
    env: { ...process.env, PETALS_HOME: home },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe'
  })
  const reader = child.stdout.getReader()
  const { done } = await reader.read()
  const ms = performance.now() - began
  await child.exited
  if (done) throw new Error(`chat said nothing: ${await new Response(child.stderr).text()}`)
  return ms
}

try {
  await swarm.bootstrap()
  const ways: Record<string, string[]> = {
    'nobody answers in the DHT': ['--bootstrap', NOBODY],
    'a DHT without servers': ['--bootstrap', swarm.address],
    '--here all': ['--bootstrap', NOBODY, '--here', 'all']
  }
  await firstLetter(ways['--here all'] ?? [])
  const times: Record<string, number[]> = {}
  for (let run = 0; run < Number(values.runs); run++) {
    for (const [way, args] of Object.entries(ways)) {
      ;(times[way] ??= []).push(await firstLetter(args))
    }
  }
  for (const [way, list] of Object.entries(times)) {
    const fastest = Math.min(...list)
    console.log(`${way}: ${median(list).toFixed(0)} ms, the fastest ${fastest.toFixed(0)} ms`)
  }
} finally {
  rmSync(home, { recursive: true, force: true })
}
