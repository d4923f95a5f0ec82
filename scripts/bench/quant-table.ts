// bun scripts/bench/quant-table.ts [--model smollm2-135m] [--tokens 1536] [--threads 2] [--runs 3]
//   [--only int4|kv]
// Every way of holding weights, keys and values: bits a weight, perplexity on a fixed text (Alice's
// Adventures in Wonderland, test/fixtures/alice.txt), agreement with float weights, speed; then the
// error of rounding each of a GGUF's types to fewer bits. `native` uses the file itself; the others
// round the file's weights after converting them to F32, as for a folder with float weights.
// Compare speeds of one row only with each other.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { bytesOf } from '../../src/base/bytes.ts'
import { seededRandom } from '../../src/base/random.ts'
import { blockCounts, encodeBlocks } from '../../src/blocks/quantise/encode.ts'
import { planForm, type BlockForm, type FloatForm } from '../../src/blocks/quantise/form.ts'
import { matricesOf, matrixBytes, planSpan } from '../../src/blocks/span-plan.ts'
import type { KvType, Quant } from '../../src/blocks/types.ts'
import { dequantise } from '../../src/model/formats/dequantise.ts'
import { embedTokens } from '../../src/model/embed.ts'
import { openModel } from '../../src/model/open-model.ts'
import { resolveModel } from '../../src/model/resolve.ts'
import { createTokenizer } from '../../src/model/text/tokenizer.ts'
import type { Model, ModelLocation, TensorType } from '../../src/model/types.ts'
import {
  argmax,
  NEVER,
  testEngine,
  type TestEngine
} from '../../test/blocks/support/engine-helpers.ts'
import { randomBlocks } from '../../test/blocks/support/random-llama.ts'
import { writeHubFolder } from '../../test/support/models/stories.ts'
import { median } from '../net/swarm-programs.ts'

const { values } = scriptArguments(import.meta.path, {
  options: {
    model: { type: 'string', default: 'smollm2-135m' },
    tokens: { type: 'string', default: '1536' },
    threads: { type: 'string', default: '2' },
    runs: { type: 'string', default: '3' },
    only: { type: 'string' }
  }
})
const threads = Number(values.threads)
const runs = Number(values.runs)
const root = join(import.meta.dir, '..', '..')

/** Rows whose logits are in memory at once. */
const ROWS = 128
/** Rows of the prompt that is timed, and where single steps are. */
const PROMPT = 256

interface Scheme {
  /** Made from the file's own weights, or from floats. */
  from: 'file' | 'floats'
  quant: Quant
  /** Float activations instead of int8 ones. */
  exact?: boolean
  /** How keys and values are held. Default: as servers do. */
  kv?: KvType
}

const SCHEMES: readonly Scheme[] = [
  { from: 'floats', quant: 'f32' },
  { from: 'floats', quant: 'f16' },
  { from: 'file', quant: 'native', exact: true },
  { from: 'file', quant: 'native' },
  ...(['f16', 'int8'] as const).map((kv): Scheme => ({ from: 'floats', quant: 'f32', kv })),
  ...(['f32', 'int8'] as const).map((kv): Scheme => ({ from: 'file', quant: 'native', kv })),
  { from: 'floats', quant: 'int8' },
  { from: 'floats', quant: 'int4' },
  { from: 'floats', quant: 'int4', exact: true }
]

interface Quality {
  perplexity: number
  /** Mean divergence of the next token's distribution from that of float weights, in nats. */
  divergence: number
  /** Share of positions with the same likeliest token. */
  agreement: number
}

/** The float weights' result at each position: log probabilities and the likeliest token. */
interface Reference {
  logs: Float32Array
  tops: Int32Array
}

function logits(engine: TestEngine, head: number, hidden: Float32Array): Float32Array {
  return engine.engine.head(head, hidden, NEVER)
}

/** Turns rows of logits into log probabilities, in place. */
function logSoftmax(row: Float32Array): void {
  let peak = -Infinity
  for (const value of row) if (value > peak) peak = value
  let sum = 0
  for (const value of row) sum += Math.exp(value - peak)
  const shift = peak + Math.log(sum)
  for (const [i, value] of row.entries()) row[i] = value - shift
}

function qualityOf(
  engine: TestEngine,
  hidden: Float32Array,
  facts: { head: number; width: number; vocab: number; ids: readonly number[] },
  reference: Reference
): Quality {
  const { head, width, vocab, ids } = facts
  const isFirst = reference.tops.length === 0
  if (isFirst) {
    reference.logs = new Float32Array(ids.length * vocab)
    reference.tops = new Int32Array(ids.length)
  }
  let [loss, divergence, same] = [0, 0, 0]
  for (let at = 0; at < ids.length; at += ROWS) {
    const rows = logits(engine, head, hidden.slice(at * width, (at + ROWS) * width))
    for (let i = 0; i * vocab < rows.length; i++) {
      const row = rows.subarray(i * vocab, (i + 1) * vocab)
      logSoftmax(row)
      const position = at + i
      const known = reference.logs.subarray(position * vocab, (position + 1) * vocab)
      const top = argmax(row)
      if (isFirst) {
        known.set(row)
        reference.tops[position] = top
      }
      if (top === reference.tops[position]) same++
      for (let token = 0; token < vocab; token++) {
        const log = known[token] ?? Number.NaN
        divergence += Math.exp(log) * (log - (row[token] ?? Number.NaN))
      }
      const next = ids[position + 1]
      if (next !== undefined) loss -= row[next] ?? Number.NaN
    }
  }
  return {
    perplexity: Math.exp(loss / (ids.length - 1)),
    divergence: divergence / ids.length,
    agreement: same / ids.length
  }
}

/** Tokens a second through all blocks, one by one and a prompt at once. */
function speedOf(
  engine: TestEngine,
  span: number,
  hidden: Float32Array,
  width: number
): { decode: number; prefill: number } {
  const session = engine.engine.openSession(span)
  const timed = (start: number, count: number): number => {
    const rows = hidden.slice(start * width, (start + count) * width)
    const began = performance.now()
    engine.step(session, start, rows, width)
    return performance.now() - began
  }
  const prefills = Array.from({ length: runs + 1 }, () => timed(0, PROMPT)).slice(1)
  const steps = Array.from({ length: 20 * runs }, (_, i) => timed(PROMPT + i, 1)).slice(5)
  engine.engine.closeSession(session)
  return { decode: 1000 / median(steps), prefill: (1000 * PROMPT) / median(prefills) }
}

function bitsOf(model: Model, { quant }: Scheme): number {
  const range = { start: 0, end: model.config.blockCount, quant }
  const matrices = planSpan(model.config, model.tensors, range).blocks.flatMap(matricesOf)
  const bytes = matrices.reduce((sum, each) => sum + matrixBytes(each), 0)
  return (8 * bytes) / matrices.reduce((sum, { rows, columns }) => sum + rows * columns, 0)
}

/** The model with all weights as floats. */
function floatModel(model: Model): Model {
  const { tensors } = model
  const info: typeof tensors.info = (name) => {
    const its = tensors.info(name)
    const count = its.shape.reduce((product, size) => product * size, 1)
    return { ...its, type: 'F32', sizeBytes: 4 * count }
  }
  const read = (name: string): Uint8Array =>
    bytesOf(dequantise(tensors.info(name).type, tensors.read(name)))
  return {
    ...model,
    tensors: { ...tensors, list: () => tensors.list().map(({ name }) => info(name)), info, read }
  }
}

const source = await openModel(
  await resolveModel(values.model, { cacheDir: join(root, '.cache', 'petals') })
)
const { hiddenSize: width, vocabSize: vocab, blockCount } = source.config
const text = readFileSync(join(root, 'test', 'fixtures', 'alice.txt'), 'utf8')
const ids = createTokenizer(source.tokenizer).encode(text).slice(0, Number(values.tokens))
const hidden = embedTokens(source, ids)
const folder = mkdtempSync(join(tmpdir(), 'petals-quant-'))
try {
  const locations: Record<Scheme['from'], ModelLocation> = {
    file: source.location,
    floats: writeHubFolder(floatModel(source), folder, 8)
  }
  const models = { file: source, floats: await openModel(locations.floats) }
  console.log(`${source.config.name}, ${ids.length} tokens, ${threads} threads, medians of ${runs}`)
  console.log(
    'weights         activations   bits  perplexity  divergence  agreement  decode/s  prefill/s'
  )
  const reference: Reference = { logs: new Float32Array(0), tops: new Int32Array(0) }
  for (const scheme of SCHEMES) {
    const { from, quant, exact = false, kv } = scheme
    const name = `${quant}${kv ? `, kv ${kv}` : ''}`
    const isReference = reference.tops.length === 0
    if (values.only !== undefined && !isReference && !name.includes(values.only)) continue
    using engine = testEngine({ exact, threads, memoryBytes: 2 ** 34 })
    const location = locations[from]
    const { span } = await engine.load({ location, start: 0, end: blockCount, quant, kv })
    const out = engine.feed(span, hidden, width, ids.length)
    const { decode, prefill } = speedOf(engine, span, hidden, width)
    const head = await engine.engine.loadHead(location, 'f32')
    const quality = qualityOf(engine, out, { head, width, vocab, ids }, reference)
    const isFloat = exact || quant === 'f32' || quant === 'f16'
    console.log(
      `${name.padEnd(15)} ${(isFloat ? 'float' : 'int8').padEnd(11)} ${bitsOf(models[from], scheme).toFixed(2).padStart(6)}` +
        `${quality.perplexity.toFixed(3).padStart(12)}${quality.divergence.toFixed(5).padStart(12)}` +
        `${(100 * quality.agreement).toFixed(2).padStart(9)} %${decode.toFixed(1).padStart(10)}${prefill.toFixed(0).padStart(11)}`
    )
  }
  models.floats.close()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
source.close()

/** What MatMulNBits multiplies with. */
function heldValues(
  form: FloatForm | BlockForm,
  type: TensorType,
  bytes: Uint8Array,
  columns: number
): Float32Array {
  const floats = dequantise(type, bytes)
  if (form.kind === 'float') return floats
  const rows = floats.length / columns
  const counts = blockCounts(form, rows, columns)
  const arrays = {
    values: new Uint8Array(counts.values),
    scales: new Float32Array(counts.scales),
    offsets: new Float32Array(counts.offsets)
  }
  encodeBlocks({ type, bytes, rows, columns }, form, arrays, 0)
  return floats.map((_, at) => {
    const of = Math.floor(at / form.block)
    const value =
      (arrays.scales[of] ?? 0) * (codeAt(arrays.values, at, form) - 2 ** (form.bits - 1))
    return value + (form.offsets ? (arrays.offsets[of] ?? 0) : 0)
  })
}

function codeAt(codes: Uint8Array, at: number, { bits }: BlockForm): number {
  if (bits === 8) return codes[at] ?? Number.NaN
  return ((codes[at >> 1] ?? Number.NaN) >> (4 * (at & 1))) & 15
}

function relativeError(held: Float32Array, wanted: Float32Array): number {
  let [off, all] = [0, 0]
  for (const [i, value] of wanted.entries()) {
    off += (value - (held[i] ?? 0)) ** 2
    all += value ** 2
  }
  return Math.sqrt(off / all)
}

const TYPES: readonly TensorType[] = [
  'F16',
  'Q8_0',
  'Q6_K',
  'Q5_K',
  'Q5_1',
  'Q5_0',
  'Q4_K',
  'Q4_1',
  'Q4_0'
]
console.log('\nRandom matrices of each type: root mean square of the error to that of the weights')
console.log('type    native                          int8 by 32, 128       int4 by 32, 64, 128')
for (const type of TYPES) {
  const [rows, columns] = [256, 1024]
  const bytes = randomBlocks(type, rows * columns, 0.03, seededRandom(5))
  const wanted = dequantise(type, bytes)
  const error = (quant: Quant, block?: number): string => {
    const held = heldValues(planForm(type, quant, block), type, bytes, columns)
    const relative = relativeError(held, wanted)
    return relative < 1e-6 ? 'exact' : `${(100 * relative).toFixed(2)} %`
  }
  const cells = (quant: Quant, blocks: readonly number[]): string =>
    blocks.map((block) => error(quant, block).padStart(7)).join(' ')
  console.log(
    `${type.padEnd(7)} ${planForm(type, 'native').note.padEnd(31)} ${cells('int8', [32, 128]).padEnd(21)} ${cells('int4', [32, 64, 128])}`
  )
}
