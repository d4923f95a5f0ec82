// A language model over FakeCompute's blocks: rows and logits of four columns, so that the blocks'
// arithmetic counts and a row that is lost, doubled or computed from another changes the text.
import { seededRandom } from '../../../src/base/random.ts'
import type { Generator, GenerateOptions } from '../../../src/client/text/generate.ts'
import { createSampler } from '../../../src/client/text/sampler.ts'
import { fakeBlock } from '../fakes/fake-compute.ts'
import { TinyLm } from './tiny-lm.ts'

export const BLOCKS = 6
export const HIDDEN = 4
const VOCAB = 24

/**
 * Rows and logits of four columns instead of TinyLm's one, so that the blocks' arithmetic counts.
 */
export class BlockLm extends TinyLm {
  override embed(ids: readonly number[]): Float32Array {
    const rows = new Float32Array(ids.length * HIDDEN)
    for (const [row, id] of ids.entries()) {
      const random = seededRandom(id + 1)
      for (let i = 0; i < HIDDEN; i++) rows[row * HIDDEN + i] = random.next() - 0.5
    }
    return rows
  }

  override async head(hidden: Float32Array): Promise<Float32Array> {
    const rows = hidden.length / HIDDEN
    const logits = new Float32Array(rows * VOCAB)
    for (let row = 0; row < rows; row++) {
      for (let id = 0; id < VOCAB; id++) {
        let sum = 0
        for (let i = 0; i < HIDDEN; i++) {
          // Steep and uneven, so that a row that is a little wrong changes the choice.
          sum += Math.sin((hidden[row * HIDDEN + i] ?? 0) * 900 * (id + 1) + i)
        }
        logits[row * VOCAB + id] = sum
      }
    }
    return logits
  }
}

/** One pass of all rows through all blocks a token, without servers, sessions or roll-back. */
export async function reference(
  lm: BlockLm,
  prompt: readonly number[],
  options: GenerateOptions
): Promise<number[]> {
  const sampler = createSampler(options)
  const text = [...prompt]
  while (text.length < prompt.length + (options.maxTokens ?? 0)) {
    const flat = lm.embed(text)
    let rows: Float32Array[] = text.map((_, at) => flat.slice(at * HIDDEN, (at + 1) * HIDDEN))
    for (let block = 0; block < BLOCKS; block++) {
      rows = rows.map((_, at) => fakeBlock(block, rows, at))
    }
    text.push(sampler.next(await lm.head(rows.at(-1) ?? new Float32Array()), text))
  }
  return text.slice(prompt.length)
}

/** Ids of an answer. */
export async function tell(
  generator: Generator,
  prompt: readonly number[],
  options: GenerateOptions,
  ontoken: (count: number) => Promise<void> | void = () => {}
): Promise<number[]> {
  const ids: number[] = []
  for await (const { id } of generator.generate(prompt, options)) {
    ids.push(id)
    await ontoken(ids.length)
  }
  return ids
}
