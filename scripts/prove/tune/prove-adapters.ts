// bun scripts/prove/tune/prove-adapters.ts --python PYTHON
// Writes an adapter for each family's tiny model and has peft load the folder: says how far its
// logits are from ours, and fails where they differ. PYTHON has torch, transformers and peft
// (python3 -m venv F && F/bin/pip install torch transformers peft).
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { adapterNumbers, adapterParts } from '../../../src/blocks/train/adapter-shape.ts'
import { writePeft } from '../../../src/tune/adapter/peft.ts'
import { Numbers, worst } from '../../../test/kernels/support/world.ts'
import { adaptedLogits, openFixture } from '../../../test/support/tune/adapted-logits.ts'
import { scriptArguments } from '../../arguments.ts'

/** Of the largest logit. */
const TOLERANCE = 5e-5
/**
 * transformers 5 adds Falcon's ALiBi otherwise than transformers 4, which made the fixture, and its
 * own classes of Llama and Qwen 3 cannot rotate a part of a head.
 */
const LEFT_OUT = new Set(['falcon-rw', 'llama-partial', 'qwen3-partial'])

const { values: options } = scriptArguments(import.meta.path, {
  options: { python: { type: 'string', default: 'python3' } }
})
const families = join(import.meta.dir, '..', '..', '..', 'test', 'fixtures', 'families')
const folder = mkdtempSync(join(tmpdir(), 'petals-adapters-'))
using _gone = { [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) }
let isGood = true
for (const name of readdirSync(families)) {
  if (LEFT_OUT.has(name)) continue
  const { fixture, config } = await openFixture(name)
  const targets = adapterParts(config).map(({ target }) => target)
  const shape = { rank: 3, scale: 1.5, targets }
  const count = adapterNumbers(config, shape, { start: 0, end: config.blockCount })
  const adapter = { shape, values: new Numbers(5).floats(count, 0.3) }
  await writePeft(folder, config, { adapter, base: name })
  const script = join(import.meta.dir, 'adapters-reference.py')
  const peft = Bun.spawn([options.python, script, 'logits', join(families, name), folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, HF_HUB_OFFLINE: '1' }
  })
  const said = await new Response(peft.stdout).text()
  if ((await peft.exited) !== 0) throw new Error(`peft cannot load the adapter of '${name}'`)
  const { rows, logits } = JSON.parse(said) as { rows: number; logits: string }
  const theirs = new Float32Array(Uint8Array.fromBase64(logits).buffer)
  const apart = worst(await adaptedLogits(fixture, adapter, rows), theirs)
  isGood &&= apart < TOLERANCE
  console.log(`${name}: ${apart.toExponential(1)} of the largest logit apart`)
}
process.exit(isGood ? 0 : 1)
