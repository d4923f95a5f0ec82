// Simulated time: events run in order of their time, then of their making. For the simulators.

interface Event {
  readonly at: number
  readonly order: number
  readonly run: (now: number) => void
}

const NEVER: Event = { at: Infinity, order: 0, run: () => {} }

/** Events in order of their time, then of their making. */
export class EventHeap {
  readonly #events: Event[] = []
  #made = 0

  push(at: number, run: (now: number) => void): void {
    const event = { at, order: this.#made++, run }
    const all = this.#events
    let index = all.push(event) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!sooner(event, this.#at(parent))) break
      all[index] = this.#at(parent)
      index = parent
    }
    all[index] = event
  }

  run(): void {
    for (let next = this.#pop(); next; next = this.#pop()) next.run(next.at)
  }

  #at(index: number): Event {
    return this.#events[index] ?? NEVER
  }

  #pop(): Event | undefined {
    const all = this.#events
    const top = all[0]
    const end = all.pop()
    if (!end || all.length === 0) return top
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= all.length) break
      if (child + 1 < all.length && sooner(this.#at(child + 1), this.#at(child))) child++
      if (!sooner(this.#at(child), end)) break
      all[index] = this.#at(child)
      index = child
    }
    all[index] = end
    return top
  }
}

function sooner(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}
