// What a session's beginnings are called, as its client says while it runs, and which of those
// names still hold: a step that starts before a mark's end makes the mark untrue. Knows no engine;
// session-keeper.ts keeps the session under these names when it ends.
import { toHex } from '../../base/bytes.ts'
import { LIMITS } from '../../wire/protocol.ts'
import { publishedLabel } from '../../wire/published-label.ts'
import type { KeepPrefix, PrefixMark } from '../../wire/types.ts'

export interface NamedPrefix {
  readonly length: number
  /** Hex. */
  readonly label: string
  /** For everybody who knows who made it. */
  readonly shared: boolean
}

/** Steps that are remembered: a client names its prefixes before it sends so many more. */
const STEPS = 16

export class SessionMarks {
  /** Longest length the session ever had: its caches are as large. */
  peak = 0
  #marks: NamedPrefix[] = []
  #steps: { readonly step: number; readonly start: number }[] = []
  /** Steps up to this one are no longer known. */
  #unknown = -1

  get all(): readonly NamedPrefix[] {
    return this.#marks
  }

  /**
   * The session began with what was kept under these names. Steps need not wait for that: what they
   * have cut already has no name.
   * @param peak longest length that what was kept ever had
   */
  begin(marks: readonly NamedPrefix[], peak: number): void {
    this.peak = Math.max(this.peak, peak)
    const least = this.#unknown < 0 ? Math.min(...this.#steps.map(({ start }) => start)) : 0
    this.#marks = marks.filter((mark) => mark.length <= least)
  }

  /** A step was taken in: whether it will run or fail, what it starts before may no longer hold. */
  onstep(step: number, start: number, count: number): void {
    this.peak = Math.max(this.peak, start + count)
    this.#steps.push({ step, start })
    if (this.#steps.length > STEPS) this.#unknown = this.#steps.shift()?.step ?? -1
    if (this.#marks.some((mark) => mark.length > start)) {
      this.#marks = this.#marks.filter((mark) => mark.length <= start)
    }
  }

  /**
   * Takes names for what the session held after the client's step. Steps on their way may have come
   * in by another link since; names of what they cut are dropped.
   * @param length that the session has now
   */
  name(message: KeepPrefix, maker: Uint8Array, length: number): void {
    if (message.step < this.#unknown) return
    let most = length
    for (const { step, start } of this.#steps) if (step > message.step) most = Math.min(most, start)
    this.#add(message.marks, most, LIMITS.marks, (label) => ({ label, shared: false }))
    this.#add(message.shared ?? [], most, LIMITS.sharedMarks, (label) => ({
      label: publishedLabel(maker, label),
      shared: true
    }))
  }

  #add(
    marks: readonly PrefixMark[],
    most: number,
    limit: number,
    keep: (label: Uint8Array) => { label: Uint8Array; shared: boolean }
  ): void {
    for (const { length, label } of marks) {
      if (length < 1 || length > most) continue
      const { label: kept, shared } = keep(label)
      if (this.#marks.filter((one) => one.shared === shared).length >= limit) return
      const name = toHex(kept)
      if (!this.#marks.some((one) => one.label === name)) {
        this.#marks.push({ length, label: name, shared })
      }
    }
  }
}
