// bun scripts/bench/bench-adapters.ts [--runs 7]
// What adapters cost sessions: SmolLM2's first blocks on one thread, without an adapter and with
// several, in turn in the same run. Counts the process's CPU time, since machines are shared;
// prints medians, and shares of the speed without.
import { scriptArguments } from '../arguments.ts'
import { adapterNumbers, adapterParts } from '../../src/blocks/train/adapter-shape.ts'
import { openModel } from '../../src/model/open-model.ts'
import { median } from '../net/swarm-programs.ts'
import { NEVER, testEngine } from '../../test/blocks/support/engine-helpers.ts'
import { Numbers } from '../../test/kernels/support/world.ts'
import { smollm2Location } from '../../test/support/models/smollm2.ts'

const { values } = scriptArguments(import.meta.path, {
  options: { runs: { type: 'string', default: '7' } }
})
const runs = Number(values.runs)
const BLOCKS = { start: 0, end: 8 }
const PROMPT = 256
const DECODED = 24
const SESSIONS = 16

const location = await smollm2Location()
const model = await openModel(location)
model.close()
const { config } = model
const width = config.hiddenSize
using engine = testEngine({ threads: 1 })
const { span } = await engine.load({ location, ...BLOCKS, quant: 'native' })
const every = adapterParts(config).map(({ target }) => target)

function adapter(rank: number, targets: readonly string[]): number {
  const shape = { rank, scale: 1, targets }
  const numbers = new Numbers(1).floats(adapterNumbers(config, shape, BLOCKS), 0.01)
  return engine.engine.loadAdapter(span, { lora: { shape, values: numbers } }).adapter
}

const cases = {
  none: [],
  'rank 8, q and v': [adapter(8, ['self_attn.q_proj', 'self_attn.v_proj'])],
  'rank 8, all': [adapter(8, every)],
  'rank 16, all': [adapter(16, every)],
  'rank 64, all': [adapter(64, every)]
}
const rows = new Numbers(2).floats(PROMPT * width)
const piece = (at: number, count = 1): Float32Array => rows.slice(at * width, (at + count) * width)
const cpuMs = (): number => process.cpuUsage().user / 1000

/** Tokens a second of CPU time. */
function rate(tokens: number, work: () => void): number {
  const began = cpuMs()
  work()
  return (1000 * tokens) / (cpuMs() - began)
}

function measure(adapters: readonly number[]): number[] {
  const mix = adapters.map((one) => ({ adapter: one, weight: 1 }))
  const open = (): number => engine.engine.openSession(span, undefined, mix)
  const one = open()
  const many = Array.from({ length: SESSIONS }, open)
  const rates = [
    rate(PROMPT, () => void engine.step(one, 0, rows, width)),
    rate(DECODED, () => {
      for (let i = 0; i < DECODED; i++) engine.step(one, PROMPT + i, piece(i), width)
    }),
    rate(SESSIONS * DECODED, () => {
      for (let i = 0; i < DECODED; i++) {
        const pieces = many.map((session) => ({ session, start: i, end: i + 1, hidden: piece(i) }))
        engine.engine.run(pieces, NEVER)
      }
    })
  ]
  for (const session of [one, ...many]) engine.engine.closeSession(session)
  return rates
}

const found = Object.keys(cases).map((): number[][] => [])
for (let run = 0; run < runs; run++) {
  for (const [i, adapters] of Object.values(cases).entries()) found[i]?.push(measure(adapters))
}
const medians = found.map((all) => [0, 1, 2].map((i) => median(all.map((one) => one[i] ?? 0))))
console.log(`tokens/s of CPU time: prompt of ${PROMPT}, decode, ${SESSIONS} sessions`)
for (const [i, name] of Object.keys(cases).entries()) {
  const shown = medians[i]?.map((value, at) => {
    return `${value.toFixed(0)} (${(value / (medians[0]?.[at] ?? 1)).toFixed(2)})`
  })
  console.log(`${name.padEnd(16)} ${shown?.join('  ')}`)
}
