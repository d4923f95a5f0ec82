// bun scripts/prove/tune/prove-tune.ts --python PYTHON [--keep FILE] [--threads 2]
// Trains SmolLM2 with LoRA for 50 steps beside transformers and peft: the same examples in the same
// order, the same rates and the same first adapter. Says both losses of each step, and fails where
// they differ by more than 1 %; and whether both end with the same adapter. PYTHON has torch,
// transformers, peft and gguf (python3 -m venv F && F/bin/pip install torch transformers peft
// gguf). `--keep` writes peft's losses for a test.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readPeft, writePeft } from '../../../src/tune/adapter/peft.ts'
import type { TuneValues } from '../../../src/tune/parameters.ts'
import { smollm2Location } from '../../../test/support/models/smollm2.ts'
import { openAliceRun } from '../../../test/support/tune/alice-run.ts'
import { scriptArguments } from '../../arguments.ts'

const MOST_DIFFERENCE = 0.01

const { values: options } = scriptArguments(import.meta.path, {
  options: {
    python: { type: 'string', default: 'python3' },
    keep: { type: 'string' },
    threads: { type: 'string', default: '2' }
  }
})

const folder = mkdtempSync(join(tmpdir(), 'petals-tune-'))
using _gone = { [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) }
const location = await smollm2Location()
await using run = await openAliceRun(location, Number(options.threads))
const { config, plan, steps, tuner } = run
const { adapter: shape } = plan.shape
if (shape === undefined) throw new TypeError('The plan is no LoRA')
const adapterOf = ({ adapter }: TuneValues): { shape: typeof shape; values: Float32Array } => ({
  shape,
  values: adapter ?? new Float32Array(0)
})

await writePeft(folder, config, { adapter: adapterOf(tuner.values), base: config.name })
const { clip, weightDecay } = plan
writeFileSync(join(folder, 'run.json'), JSON.stringify({ clip, weightDecay, steps }))
const losses: number[] = []
let rows = 0
const began = performance.now()
for (const { examples, learningRate } of steps) {
  const { signal } = new AbortController()
  const report = await tuner.step(examples, { learningRate, clip, weightDecay, signal })
  losses.push(report.loss)
  rows += report.rows
}
const ours = (performance.now() - began) / 1000

const reference = join(import.meta.dir, 'tune-reference.py')
const peft = Bun.spawn([options.python, reference, folder, location.paths[0] ?? ''], {
  stdio: ['ignore', 'pipe', 'inherit'],
  env: { ...process.env, OMP_NUM_THREADS: options.threads, HF_HUB_OFFLINE: '1' }
})
const said = await new Response(peft.stdout).text()
if ((await peft.exited) !== 0) throw new Error('peft ended with an error')
const { losses: theirs, seconds } = JSON.parse(said) as { losses: number[]; seconds: number }

let worst = 0
for (const [step, loss] of losses.entries()) {
  const other = theirs[step] ?? NaN
  const difference = Math.abs(loss - other) / other
  // A loss that is no number differs, too.
  worst = difference <= worst ? worst : difference
  console.log(
    `step ${step + 1}: ${loss.toFixed(6)} and ${other.toFixed(6)}, ${difference.toExponential(1)}`
  )
}
const last = await readPeft(join(folder, 'end'), config)
const own = adapterOf(tuner.values).values
const apart = own.map((value, i) => value - (last.values[i] ?? NaN))
const length = (list: Float32Array): number => Math.hypot(...chunks(list))
const begun = await readPeft(folder, config)
const moved = last.values.map((value, i) => value - (begun.values[i] ?? NaN))
console.log(
  `worst loss ${(100 * worst).toFixed(4)} % apart; adapters ` +
    `${(100 * (length(apart) / length(moved))).toFixed(3)} % of their way apart; ` +
    `${(rows / ours).toFixed(0)} and ${(rows / seconds).toFixed(0)} tokens/s`
)
if (options.keep !== undefined) {
  writeFileSync(options.keep, `${JSON.stringify({ losses: theirs }, undefined, 1)}\n`)
}
process.exit(worst <= MOST_DIFFERENCE ? 0 : 1)

/** Lengths of pieces, since a call takes only so many arguments. */
function chunks(list: Float32Array): number[] {
  const lengths: number[] = []
  for (let at = 0; at < list.length; at += 4096) {
    lengths.push(Math.hypot(...list.subarray(at, at + 4096)))
  }
  return lengths
}
