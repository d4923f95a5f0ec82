// bun scripts/prove/fuzz-client.ts [--from 1] [--seeds 500]
// The long version of test/client/hostile.test.ts: sessions through hostile servers, one for each
// seed. Prints what went wrong, by seed, and the slowest; exits with 1 when a session failed, had
// other rows or avoided an honest server, or when memory grows.
import { scriptArguments } from '../arguments.ts'
import { fuzzClient } from '../../test/support/hostile/hostile-server.ts'

const { values } = scriptArguments(import.meta.path, {
  options: {
    from: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '500' }
  }
})
/** A session holds a few KiB; a collected heap moves by some MiB. */
const HEAP_BYTES = 16 * 1024 * 1024

let wrong = 0
let mischiefs = 0
let slowest = { seed: 0, ms: 0 }
let heapBytes = 0
const from = Number(values.from)
const end = from + Number(values.seeds)
for (let seed = from; seed < end; seed++) {
  const began = performance.now()
  try {
    const outcome = await fuzzClient(seed)
    mischiefs += outcome.mischiefs
    if (!outcome.same || outcome.blamed.length > 0) {
      wrong++
      console.log(`seed ${seed}: same rows ${outcome.same}, honest blamed ${outcome.blamed.length}`)
    }
  } catch (error) {
    wrong++
    console.log(`seed ${seed}: ${String(error)}`)
  }
  const ms = performance.now() - began
  if (ms > slowest.ms) slowest = { seed, ms }
  if (seed === from + Math.min(50, Math.floor(Number(values.seeds) / 2))) {
    Bun.gc(true)
    heapBytes = process.memoryUsage().heapUsed
  }
}
Bun.gc(true)
const grown = process.memoryUsage().heapUsed - heapBytes
console.log(
  `${values.seeds} sessions, ${mischiefs} mischiefs, ${wrong} wrong; slowest ${Math.round(slowest.ms)} ms ` +
    `(seed ${slowest.seed}); heap ${(grown / 1024 / 1024).toFixed(1)} MiB more at the end`
)
process.exit(wrong === 0 && grown < HEAP_BYTES ? 0 : 1)
