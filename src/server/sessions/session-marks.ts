// The names that a client gives to prefixes of a running session, and which of them are still
// valid: a step that starts before the end of a named prefix changes its content. Knows no engine;
// session-keeper.ts keeps the session under these names when it ends.
import { toHex } from '../../base/bytes.ts'
import { LIMITS } from '../../wire/protocol.ts'
import { publishedLabel } from '../../wire/published-label.ts'
import type { KeepPrefix, PrefixMark } from '../../wire/types.ts'

export interface NamedPrefix {
  readonly length: number
  /** Hex. */
  readonly label: string
  /** Usable by everybody who knows its maker. */
  readonly shared: boolean
}

/** How many recent steps are remembered: a client names a prefix before it sends that many more. */
const STEPS = 16

export class SessionMarks {
  /** The greatest length the session ever had: its caches are as large. */
  peak = 0
  #marks: NamedPrefix[] = []
  #steps: { readonly step: number; readonly start: number }[] = []
  /** Steps up to this one are forgotten. */
  #unknown = -1

  get all(): readonly NamedPrefix[] {
    return this.#marks
  }

  /**
   * The session began with a kept prefix of these names. Steps may come before that is known; names
   * of what they have already cut are dropped.
   * @param peak greatest length that the kept session ever had
   */
  begin(marks: readonly NamedPrefix[], peak: number): void {
    this.peak = Math.max(this.peak, peak)
    const least = this.#unknown < 0 ? Math.min(...this.#steps.map(({ start }) => start)) : 0
    this.#marks = marks.filter((mark) => mark.length <= least)
  }

  /**
   * A step was accepted. Whether it succeeds or not, names of prefixes that end after its start may
   * be invalid.
   */
  onstep(step: number, start: number, count: number): void {
    this.peak = Math.max(this.peak, start + count)
    this.#steps.push({ step, start })
    if (this.#steps.length > STEPS) this.#unknown = this.#steps.shift()?.step ?? -1
    if (this.#marks.some((mark) => mark.length > start)) {
      this.#marks = this.#marks.filter((mark) => mark.length <= start)
    }
  }

  /**
   * Stores names for what the session held after one of the client's steps. Later steps may have
   * arrived over another link meanwhile; names of what they cut are dropped.
   * @param length current length of the session
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
