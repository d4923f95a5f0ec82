// bun scripts/prove/soak.ts [--sessions 10000] [--seed 12]
// The long version of test/server/hostile.test.ts: one server process of stories260K, 10,000
// sessions of hostile peers (served one after another, vanishing, flooding, beside nonsense, claims
// and a peer that reads nothing) while an honest client asks for texts that are known. Prints the
// server's memory every 1,000 sessions; exit code 1 when anything is left over, memory grows, or
// the honest client fails.
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import DHT from 'hyperdht'
import { seededRandom } from '../../src/base/random.ts'
import { startBootstrap } from '../../src/swarm/dht/bootstrap.ts'
import type { HostState } from '../../test/server/host-process.ts'
import * as attacks from '../../test/support/hostile/attacks.ts'
import { HonestClient } from '../../test/support/hostile/honest-client.ts'
import { HostProgram } from '../../test/support/host-program.ts'
import { targetOf } from '../../test/support/hostile/raw-peer.ts'

const ROUND = 1000
const VANISHING = 100
const FLOODED = 16
const LINKS = 4
const KILLED = 100
/**
 * Rounds whose least memory is compared: a collected heap still moves by 6 MiB from round to round.
 */
const LEAST_OF = 3
/** What may be more in the last rounds than in those after the first, which warms up. */
const HEAP_BYTES = 8 * 1024 * 1024
const RSS_BYTES = 48 * 1024 * 1024

const { values } = scriptArguments(import.meta.path, {
  options: {
    /** At least 4,000: fewer do not tell growth from warming up. */
    sessions: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '12' }
  }
})
const sessions = Math.max(Number(values.sessions), (1 + LEAST_OF) * ROUND)
const random = seededRandom(Number(values.seed))

await using bootstrap = await startBootstrap({ port: 0 })
const address = { host: bootstrap.host, port: bootstrap.port }
await using host = await HostProgram.start(bootstrap.port)
const dht = new DHT({ bootstrap: [address], host: '127.0.0.1', firewalled: false })
await dht.fullyBootstrapped()
const target = await targetOf(host.key)
await using honest = await HonestClient.start(address)

const over = new AbortController()
const asking = honest.askUntil(over.signal)
const failures: unknown[] = []
asking.catch((error: unknown) => void failures.push(error))
const states: HostState[] = []
console.log('sessions  seconds  RSS MiB  heap MiB  honest answers  refused')
for (let done = 0; done < sessions && failures.length === 0;) {
  const refused = await round()
  done += ROUND
  const state = await settled()
  states.push(state)
  const { rssBytes, heapBytes } = state
  const row = [done, seconds(), mib(rssBytes), mib(heapBytes), honest.answers, refused]
  console.log(row.map((cell, i) => String(cell).padStart([8, 8, 8, 9, 15, 8][i] ?? 8)).join(' '))
}
const killedMs = await killed()
console.log(`${KILLED} connections killed without a goodbye: forgotten after ${killedMs} ms`)
over.abort()
await asking.catch(() => {})
process.exitCode = verdict() ? 0 : 1
await dht.destroy({ force: true })

/** 1,000 sessions and everything else; resolves to the number of refused steps. */
async function round(): Promise<number> {
  const reader = await attacks.readNothing(dht, target, { answers: 20, random })
  for (const stage of attacks.STAGES) await attacks.fuzz(dht, target, { stage, frames: 48, random })
  await attacks.vanish(dht, target, { connections: VANISHING, together: 10, random })
  await attacks.claimTooMuch(dht, target, random)
  const flooder = await attacks.flood(dht, target, { sessions: 200, random })
  reader.vanish()
  flooder.vanish()
  const each = (ROUND - VANISHING - FLOODED) / LINKS
  const errors = await Promise.all(
    Array.from({ length: LINKS }, () =>
      attacks.serialSessions(dht, target, { sessions: each, random })
    )
  )
  return errors.flat().length
}

/** Time until nothing is left of connections whose process was killed, ms. */
async function killed(): Promise<number> {
  const key = Buffer.from(host.key).toString('hex')
  const script = join(import.meta.dir, '..', '..', 'test', 'server', 'vanish-process.ts')
  const child = Bun.spawn([process.execPath, script, String(bootstrap.port), key, String(KILLED)], {
    stdout: 'pipe',
    stderr: 'inherit'
  })
  const { value } = await child.stdout.getReader().read()
  const open = Number(new TextDecoder().decode(value))
  child.kill('SIGKILL')
  if (open !== KILLED) throw new Error(`Only ${open} of ${KILLED} sessions were opened`)
  const from = performance.now()
  await settled()
  return Math.round(performance.now() - from)
}

/**
 * The honest client may be in the middle of an answer: one session of the engine and the table is
 * its own.
 */
function settled(): Promise<HostState> {
  return host.until(
    (state) =>
      state.sessions <= 1 && state.engineSessions - state.keptPrefixes <= 1 && state.links <= 1,
    30_000
  )
}

function verdict(): boolean {
  if (failures.length > 0) {
    console.log('verdict: FAILED, the honest client did not get its text:', failures[0])
    return false
  }
  const grown = (pick: (state: HostState) => number): number => {
    const all = states.map(pick)
    return Math.min(...all.slice(-LEAST_OF)) - Math.min(...all.slice(1, 1 + LEAST_OF))
  }
  const heap = grown((state) => state.heapBytes)
  const rss = grown((state) => state.rssBytes)
  const flat = heap < HEAP_BYTES && rss < RSS_BYTES
  const more = `heap ${mib(heap)} MiB, RSS ${mib(rss)} MiB more at the end than after the first rounds`
  const answers = `${honest.answers} honest answers, all right, ${honest.reroutes.length} rerouted`
  console.log(`verdict: ${flat ? 'flat' : 'FAILED, memory grows'}: ${more}; ${answers}`)
  for (const why of new Set(honest.reroutes)) console.log(`  rerouted: ${why}`)
  return flat
}

function mib(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(1)
}

function seconds(): string {
  return (performance.now() / 1000).toFixed(1)
}
