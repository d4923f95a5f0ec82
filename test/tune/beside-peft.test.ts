// A training of SmolLM2 beside transformers and peft: scripts/prove/tune/prove-tune.ts kept what
// peft's losses were.
import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { smollm2Location } from '../support/models/smollm2.ts'
import { openAliceRun } from '../support/tune/alice-run.ts'

/** All of them take minutes; after these the adapter has moved, and the rate begins to fall. */
const STEPS = 8
const TOLERANCE = 1e-3

const path = join(import.meta.dir, '..', 'fixtures', 'tune.json')
const { losses } = JSON.parse(readFileSync(path, 'utf8')) as { losses: number[] }

test("losses are peft's, step after step", async () => {
  await using run = await openAliceRun(await smollm2Location(), 2)
  const { signal } = new AbortController()
  for (const [index, { examples, learningRate }] of run.steps.slice(0, STEPS).entries()) {
    const { clip, weightDecay } = run.plan
    const { loss } = await run.tuner.step(examples, { learningRate, clip, weightDecay, signal })
    const expected = losses[index] ?? NaN
    expect(Math.abs(loss - expected) / expected).toBeLessThan(TOLERANCE)
  }
}, 300_000)
