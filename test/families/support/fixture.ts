// The tiny models that scripts/prove/make-family-fixtures.py made, and what `transformers`
// answered.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ModelLocation } from '../../../src/model/types.ts'

export interface Fixture {
  readonly name: string
  readonly location: ModelLocation
  readonly ids: readonly number[]
  /** What greedy generation goes on with. */
  readonly greedy: readonly number[]
  /** Rows that go into each block, (ids.length, hiddenSize); [0] is the client's embedding. */
  readonly hidden: readonly Float32Array[]
  /** (ids.length, vocabSize) */
  readonly logits: Float32Array
}

export function readFixture(name: string): Fixture {
  const folder = join(import.meta.dir, '..', '..', 'fixtures', 'families', name)
  const file = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as {
    ids: number[]
    greedy: number[]
    hidden: Record<string, string>
    logits: string
  }
  return {
    name,
    location: { kind: 'folder', paths: [folder] },
    ids: file.ids,
    greedy: file.greedy,
    hidden: Object.values(file.hidden).map(floats),
    logits: floats(file.logits)
  }
}

function floats(base64: string): Float32Array {
  return new Float32Array(Uint8Array.fromBase64(base64).buffer)
}
