// The last hour of a watched swarm in bounded memory: a sample a minute for each model, and who
// came and went. Pure but for the times that it is given.
import type { Sample, SwarmEvent } from './snapshot.ts'

const HOUR_MS = 3_600_000
const SAMPLE_MS = 60_000
const MOST_SAMPLES = HOUR_MS / SAMPLE_MS
/** A swarm where more happens in an hour shows the newest. */
const MOST_EVENTS = 500

export class SwarmHistory {
  readonly #samples = new Map<string, Sample[]>()
  #events: SwarmEvent[] = []

  /** The oldest first. */
  samplesOf(model: string): readonly Sample[] {
    return this.#samples.get(model) ?? []
  }

  /** The newest first. */
  eventsSince(at: number): readonly SwarmEvent[] {
    return this.#events.filter((event) => event.at >= at).toReversed()
  }

  event(event: SwarmEvent): void {
    this.#events.push(event)
    if (this.#events.length > MOST_EVENTS) this.#events.shift()
  }

  /** Takes a sample of a model, unless the last one is younger than a minute. */
  sample(model: string, sample: Sample): void {
    const samples = this.#samples.get(model) ?? []
    this.#samples.set(model, samples)
    const last = samples.at(-1)
    if (last && sample.at - last.at < SAMPLE_MS) return
    samples.push(sample)
    if (samples.length > MOST_SAMPLES) samples.shift()
  }

  /** Forgets what is over an hour old. */
  forget(now: number): void {
    const since = now - HOUR_MS
    this.#events = this.#events.filter((event) => event.at >= since)
    for (const [model, samples] of this.#samples) {
      while ((samples[0]?.at ?? now) < since) samples.shift()
      if (samples.length === 0) this.#samples.delete(model)
    }
  }
}
