// bun scripts/llama/check-llama-cpp.ts FOLDER   with node-llama-cpp 3.21.1 in FOLDER/node_modules
// Gives the GGUFs that test/families writes from its fixtures to llama.cpp, and holds what it
// answers to what `transformers` answered: so the names and orders that our tests rest on are
// llama.cpp's own.
import { scriptArguments } from '../arguments.ts'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { readFixture } from '../../test/families/support/fixture.ts'
import { writeFixtureGguf } from '../../test/families/support/gguf.ts'

/**
 * Those that a GGUF can express and llama.cpp runs: its Mistral has no window, its Falcon no ALiBi,
 * its Llama and Qwen 3 rotate whole heads.
 */
const NAMES = [
  'llama',
  'llama3',
  'llama-linear',
  'qwen2',
  'qwen3',
  'gemma2',
  'gemma3',
  'mixtral',
  'qwen3moe',
  'gpt2',
  'bloom',
  'bloom-6-heads',
  'falcon-7b',
  'falcon-40b'
]

/** Of a probability; both keep their caches in floats here. */
const TOLERANCE = 1e-4

const { positionals } = scriptArguments(import.meta.path, { allowPositionals: true })
const [place = '.'] = positionals
const entry = Bun.resolveSync('node-llama-cpp', resolve(place))
const folder = mkdtempSync(join(tmpdir(), 'petals-llama-cpp-'))
try {
  for (const name of NAMES) {
    const fixture = readFixture(name)
    const path = join(folder, `${name}.gguf`)
    writeFileSync(path, writeFixtureGguf(fixture))
    writeFileSync(
      join(folder, `${name}.json`),
      JSON.stringify({
        ids: fixture.ids,
        greedy: fixture.greedy,
        vocab: fixture.logits.length / fixture.ids.length
      })
    )
  }
  const script = join(folder, 'ask.mjs')
  writeFileSync(script, await Bun.file(join(import.meta.dir, 'ask-llama-cpp.mjs')).text())
  const child = Bun.spawn(['node', script, entry, folder, ...NAMES], {
    stdout: 'pipe',
    stderr: 'pipe'
  })
  const [text, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text()
  ])
  if ((await child.exited) !== 0) throw new Error(errors)
  let failed = 0
  for (const line of text.trim().split('\n')) {
    const { name, written, probabilities } = JSON.parse(line) as {
      name: string
      written: number[]
      probabilities: [number, number][]
    }
    const { greedy, logits, ids } = readFixture(name)
    const vocab = logits.length / ids.length
    const last = softmax(logits.slice(-vocab))
    const worst = Math.max(
      ...probabilities.map(([id, value]) => Math.abs(value - (last[id] ?? NaN)))
    )
    const same = written.every((id, i) => id === greedy[i])
    if (!same || !(worst < TOLERANCE)) failed++
    console.log(
      `${name}: ${same ? 'same' : 'OTHER'} ${written.length} tokens, probabilities differ by ${worst.toExponential(1)}`
    )
    if (!same) console.log(`  transformers ${greedy.join()}\n  llama.cpp    ${written.join()}`)
  }
  console.log(`${NAMES.length - failed} passed, ${failed} failed`)
  process.exitCode = failed === 0 ? 0 : 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}

function softmax(logits: Float32Array): Float32Array {
  const most = logits.reduce((best, value) => Math.max(best, value), -Infinity)
  const values = logits.map((value) => Math.exp(value - most))
  const sum = values.reduce((total, value) => total + value, 0)
  return values.map((value) => value / sum)
}
