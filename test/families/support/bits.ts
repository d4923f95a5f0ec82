// Hashes of what blocks and head come to, however they are computed. bun
// test/families/support/bits.ts pins those of today's arithmetic in test/fixtures/bits.json: for a
// change of it that is meant, and has another name.
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Quant } from '../../../src/blocks/types.ts'
import { ARITHMETIC } from '../../../src/kernels/arithmetic.ts'
import { embedTokens } from '../../../src/model/embed.ts'
import { openModel } from '../../../src/model/open-model.ts'
import type { ModelLocation } from '../../../src/model/types.ts'
import { NEVER, testEngine, type TestEngine } from '../../blocks/support/engine-helpers.ts'
import { smollm2Location } from '../../support/models/smollm2.ts'
import { readFixture } from './fixture.ts'

const NAMES = readdirSync(join(import.meta.dir, '..', '..', 'fixtures', 'families')).sort()
const QUANTS = ['f32', 'int8', 'int4'] as const satisfies readonly Quant[]

export interface Task {
  location: ModelLocation
  ids: readonly number[]
  quant: Quant
}

/** How a task is computed; nothing of it may be seen in the bits. */
export interface Way {
  /** Rows of a step. */
  size: number
  /** Where spans begin after the first. */
  cuts?: readonly number[]
  /** Sessions of other rows in every run. */
  others?: number
}

/** Hashes of the rows after all blocks and of their logits. */
export async function hashes(engine: TestEngine, task: Task, way: Way): Promise<string> {
  const { location, ids, quant } = task
  const model = await openModel(location)
  const { blockCount, hiddenSize } = model.config
  let rows = embedTokens(model, ids)
  model.close()
  const edges = [0, ...(way.cuts ?? []), blockCount]
  for (const [index, start] of edges.slice(0, -1).entries()) {
    const end = edges[index + 1] ?? blockCount
    const { span } = await engine.load({ location, start, end, quant })
    rows = stepped(engine, span, rows, { width: hiddenSize, ...way })
    engine.engine.unloadSpan(span)
  }
  const head = await engine.engine.loadHead(location, quant === 'f32' ? 'f32' : 'native')
  const logits = engine.engine.head(head, rows.slice(), NEVER)
  engine.engine.unloadHead(head)
  return `${hash(rows)} ${hash(logits)}`
}

/** All rows in steps of `size`, each in one run with the others' rows, which lie elsewhere. */
function stepped(
  { engine }: TestEngine,
  span: number,
  rows: Float32Array,
  { width, size, others = 0 }: Way & { width: number }
): Float32Array {
  const [own, ...beside] = Array.from({ length: 1 + others }, () => engine.openSession(span))
  const out = new Float32Array(rows.length)
  for (let at = 0; at < rows.length; at += size * width) {
    const piece = rows.slice(at, at + size * width)
    const count = piece.length / width
    const of = (session: number, start: number, hidden: Float32Array) => {
      return { session, start, end: start + hidden.length / width, hidden }
    }
    const [answer] = engine.run(
      [
        of(own ?? 0, at / width, piece),
        ...beside.map((session, i) => of(session, 0, rows.slice(0, (1 + (i % count)) * width)))
      ],
      NEVER
    )
    if (!(answer instanceof Float32Array)) throw answer
    out.set(answer, at)
  }
  return out
}

function hash(values: Float32Array): string {
  return new Bun.CryptoHasher('sha256').update(values).digest('hex').slice(0, 16)
}

const fixtures = NAMES.flatMap((name) => QUANTS.map((quant) => [name, quant] as const))

/** Of all fixtures, by name and quantisation. */
export async function fixtureHashes(engine: TestEngine, way: Way): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const [name, quant] of fixtures) {
    const { location, ids } = readFixture(name)
    found[`${name} ${quant}`] = await hashes(engine, { location, ids, quant }, way)
  }
  return found
}

/** Of SmolLM2's blocks over some ids, by quantisation. */
export async function smollm2Hashes(engine: TestEngine, way: Way): Promise<Record<string, string>> {
  const location = await smollm2Location()
  const ids = Array.from({ length: 40 }, (_, i) => 100 + 37 * i)
  const found: Record<string, string> = {}
  for (const quant of ['native', 'int4'] as const) {
    found[quant] = await hashes(engine, { location, ids, quant }, way)
  }
  return found
}

if (import.meta.main) {
  using engine = testEngine({ threads: 1 })
  const whole = { size: 64 }
  const pins = {
    arithmetic: ARITHMETIC,
    fixtures: await fixtureHashes(engine, whole),
    smollm2: await smollm2Hashes(engine, whole)
  }
  const path = join(import.meta.dir, '..', '..', 'fixtures', 'bits.json')
  writeFileSync(path, `${JSON.stringify(pins, undefined, 2)}\n`)
}
