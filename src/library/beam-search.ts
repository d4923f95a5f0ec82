// Beam search: of the texts that begin with the likeliest ids, the ones that are likeliest as a
// whole. Each beam has a session of its own; one that goes on from another's text feeds only what
// differs. Knows no sessions: `logits` gives what follows a text.
import { exp, log } from '../base/double-math.ts'

export interface BeamOptions {
  readonly beams: number
  readonly maxTokens: number
  readonly eosIds: ReadonlySet<number>
  /** Scores are divided by the number of new ids to this power, as in transformers. Default 1. */
  readonly lengthPenalty?: number
  /** Stop as soon as there are as many whole texts as beams. Default false. */
  readonly earlyStopping?: boolean
  /** Texts to return. Default 1. */
  readonly texts?: number
  /** What follows each text: (vocabSize) each, in the order of `texts`. */
  readonly logits: (texts: readonly (readonly number[])[]) => Promise<readonly Float32Array[]>
}

export interface BeamText {
  /** New ids, an id that ended the text included. */
  readonly ids: readonly number[]
  /** Mean log probability by the length penalty. */
  readonly score: number
  /** Whether the model ended it. */
  readonly ended: boolean
}

interface Beam {
  readonly ids: readonly number[]
  /** Log probability of all new ids. */
  readonly sum: number
}

/** The best texts behind `prompt`, best first. */
export async function beamSearch(
  prompt: readonly number[],
  options: BeamOptions
): Promise<BeamText[]> {
  const { beams: count, maxTokens, eosIds, logits, earlyStopping = false, texts = 1 } = options
  // Without an id the sum is 0, whatever it is divided by.
  const score = ({ ids, sum }: Beam): number =>
    sum / Math.max(1, ids.length) ** (options.lengthPenalty ?? 1)
  let beams: Beam[] = [{ ids: [], sum: 0 }]
  let done: BeamText[] = []
  for (let length = 1; length <= maxTokens && beams.length > 0; length++) {
    const rows = await logits(beams.map(({ ids }) => [...prompt, ...ids]))
    // Twice as many as beams: so many stay even if each beam's best ends it.
    const candidates = beams
      .flatMap((beam, i) => extensions(beam, rows[i] ?? new Float32Array(0), 2 * count))
      .sort((a, b) => b.sum - a.sum)
      .slice(0, 2 * count)
    beams = []
    for (const [rank, candidate] of candidates.entries()) {
      if (eosIds.has(candidate.ids.at(-1) ?? -1)) {
        // One that ends and is not among the best is dropped.
        if (rank < count) {
          done.push({ ids: candidate.ids, score: score(candidate), ended: true })
        }
      } else if (beams.length < count) {
        beams.push(candidate)
      }
    }
    done = done.sort((a, b) => b.score - a.score).slice(0, count)
    if (done.length < count) continue
    const [best] = beams
    const worst = done.at(-1)?.score ?? -Infinity
    // No text that goes on can become better than the worst of those that are whole.
    if (earlyStopping || best === undefined || score(best) <= worst) beams = []
  }
  const open = beams.map((beam) => ({ ids: beam.ids, score: score(beam), ended: false }))
  return [...done, ...open].sort((a, b) => b.score - a.score).slice(0, texts)
}

/** The beam with each of the `most` likeliest ids behind it. */
function extensions(beam: Beam, logits: Float32Array, most: number): Beam[] {
  let peak = -Infinity
  for (const value of logits) peak = Math.max(peak, value)
  let total = 0
  for (const value of logits) total += exp(value - peak)
  const shift = peak + log(total)
  const best: { id: number; value: number }[] = []
  for (const [id, value] of logits.entries()) {
    if (best.length === most && value <= (best.at(-1)?.value ?? -Infinity)) continue
    const at = best.findIndex((one) => value > one.value)
    best.splice(at < 0 ? best.length : at, 0, { id, value })
    if (best.length > most) best.pop()
  }
  return best.map(({ id, value }) => ({ ids: [...beam.ids, id], sum: beam.sum + value - shift }))
}
