// Decoding over a made-up swarm: what the speculation decides, against what plain decoding takes.
// The price of rows is the one measured for 8 blocks of TinyLlama's shape on two threads.
import { seededRandom } from '../../src/base/random.ts'
import { Speculator } from '../../src/client/speculate/speculate.ts'

const MEASURED: readonly (readonly [number, number])[] = [
  [1, 9.1],
  [2, 10.7],
  [4, 15.1],
  [8, 22.1],
  [16, 35.5],
  [32, 62.7],
  [64, 120]
]

/** Compute of one trip, ms. */
export function computeMs(rows: number): number {
  let [below] = MEASURED
  for (const above of MEASURED) {
    if (above[0] >= rows) {
      const [r0, ms0] = below ?? above
      const [r1, ms1] = above
      return r1 === r0 ? ms1 : ms0 + ((ms1 - ms0) * (rows - r0)) / (r1 - r0)
    }
    below = above
  }
  throw new RangeError(`Nothing was measured for ${rows} rows`)
}

export interface Scene {
  tokens: number
  rttMs: (token: number) => number
  /** Probability that a guess is right, by the token it stands for. */
  acceptance: (token: number) => number
  /** Share of tokens at which there is a guess at all. Default 1. */
  offered?: number
  /** Each trip is longer by up to this share of itself. Default 0. */
  jitter?: number
  /** Share of trips that take 3 s more. Default 0. */
  hiccups?: number
  seed: number
  /** What decides; by default one that has learned nothing yet. */
  speculator?: Speculator
  /** Time of making one guess. Default 0: guesses are also made only to see if they are right. */
  guessMs?: number
  /** Support of a guess. Default 2. */
  matched?: number
}

export interface Outcome {
  /** Time of plain decoding over time with speculation; above 1 is faster. */
  gain: number
  trips: number
  drafted: number
}

export function simulate(scene: Scene): Outcome {
  const { tokens, offered = 1, jitter = 0, hiccups = 0, matched = 2 } = scene
  const speculator = scene.speculator ?? new Speculator()
  const random = seededRandom(scene.seed)
  const source = { name: 'simulated', guessMs: scene.guessMs ?? 0 }
  const outcome = { gain: 0, trips: 0, drafted: 0 }
  let plainMs = 0
  let ms = 0
  for (let made = 0; made < tokens;) {
    const most = Math.min(31, tokens - made - 1)
    const ids = random.next() < offered ? Array.from({ length: most }, () => 1) : []
    const sent = speculator.choose(source, matched, ids.length).length
    const drawn: number[] = []
    do drawn.push(random.next() < scene.acceptance(made + drawn.length) ? 1 : 0)
    while (drawn.length <= sent && drawn.at(-1) === 1)
    const swing = 1 + jitter * random.next()
    const late = random.next() < hiccups ? 3000 : 0
    const tripMs = (scene.rttMs(made) + computeMs(sent + 1)) * swing + late
    // Plain decoding meets the same weather at every token.
    for (let i = 0; i < drawn.length; i++) {
      plainMs += (scene.rttMs(made + i) + computeMs(1)) * (1 + jitter / 2) + hiccups * 3000
    }
    ms += tripMs
    made += drawn.length
    outcome.trips++
    outcome.drafted += sent
    const guessMs = source.guessMs * sent
    ms += guessMs
    // What costs is not made only to see whether it would have been right.
    const guesses = source.guessMs > 0 && sent === 0 ? [] : [{ source, draft: { ids, matched } }]
    speculator.note({ guesses, sent, guessMs, drawn, ms: tripMs })
  }
  return { ...outcome, gain: plainMs / ms }
}
