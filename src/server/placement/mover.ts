// Moves a server to other blocks when the swarm is better for it: decides by rebalance.ts, fetches,
// says where it goes, waits until it is heard and its sessions have gone, makes sure once more that
// nobody needs it where it is, and changes. Called by host.ts with what it acts on.
// Knows no DHT, no engine and no link.
import type { BlockSpan } from '../../base/block-span.ts'
import { sleep, type Clock } from '../../base/clock.ts'
import { toAppError } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { NextSpan, ServerInfo } from '../../wire/types.ts'
import {
  drainStep,
  opensGap,
  placedOf,
  planMove,
  stillWorth,
  type DrainOptions,
  type MoveOptions,
  type PlacedServer
} from './rebalance.ts'

export interface MoverOptions {
  /** What this server says of itself now. */
  info: () => ServerInfo
  sessions: () => number
  /** The other servers by their records. */
  find: (signal: AbortSignal) => Promise<readonly ServerInfo[]>
  /** Of these servers those that answer, as they describe themselves now. */
  ask: (servers: readonly ServerInfo[], signal: AbortSignal) => Promise<readonly ServerInfo[]>
  /** Whether there is room for what it lacks of these blocks. */
  fits: (range: BlockSpan) => boolean | Promise<boolean>
  /** Fetches weights while the old blocks are still served. */
  fetch: (range: BlockSpan, signal: AbortSignal) => Promise<void>
  /** Says that this server drains and where it goes; undefined: that it stays. */
  say: (next: NextSpan | undefined) => void
  /** Serves these blocks instead. Rejects when it could not, and then serves the old ones. */
  change: (range: BlockSpan, signal: AbortSignal) => Promise<void>
  placement?: PlacementOptions
  clock: Clock
  log: Log
}

export interface PlacementOptions extends MoveOptions, DrainOptions {
  /** Time between looks while it drains, ms. Default 2500. */
  stepMs?: number
  /** What loading other blocks is expected to take, ms. Default 60,000. */
  loadMs?: number
}

const STEP_MS = 2_500
const LOAD_MS = 60_000
const HEARD_MS = 15_000
/** What could not be loaded once is not tried again soon. */
const FAILED_MS = 1_800_000
/** Checks that others get to say that they move. */
const PATIENCE = 2
/** Asked for whether they still serve the blocks that would be left. */
const MOST_ASKED = 24

export class Mover {
  readonly #options: MoverOptions
  /** Since a move failed. */
  #restUntil = -Infinity
  /** Checks in a row at which others should have moved and had not said so, by peer. */
  #expected = new Map<string, number>()

  constructor(options: MoverOptions) {
    this.#options = options
  }

  /**
   * Moves if it should.
   * @param servers the others, as they were found just now
   * @returns whether it moved
   */
  async check(servers: readonly ServerInfo[], signal: AbortSignal): Promise<boolean> {
    const { info, fits, fetch, placement = {}, clock, log } = this.#options
    if (clock.now() < this.#restUntil) return false
    const { blockCount, start, end } = info()
    const self = placedOf(info())
    const unmoved = new Set<string>()
    for (const [peer, times] of this.#expected) if (times >= PATIENCE) unmoved.add(peer)
    const placed = [...servers.map(placedOf), self]
    const move = planMove(self.peer, placed, blockCount, { ...placement, unmoved })
    this.#expect(move.kind === 'stay' ? (move.movers ?? []) : [], unmoved)
    if (move.kind === 'stay') return false
    const range = { start: move.start, end: move.end }
    if (!(await fits(range))) return false
    log.info(
      `moving from blocks ${start}:${end} to ${range.start}:${range.end}: the weakest block ` +
        `would have ${move.toRate.toFixed(1)} tokens/s, not ${move.fromRate.toFixed(1)}`
    )
    try {
      await fetch(range, signal)
      return await this.#drainAndChange(range, move.fromRate <= 0, signal)
    } catch (error) {
      if (signal.aborted) throw error
      this.#restUntil = clock.now() + FAILED_MS
      log.warn(`the move failed, blocks stay as they were: ${toAppError(error).message}`)
      return false
    }
  }

  /** Who should move at every check and never says so will not, for whatever reason. */
  #expect(movers: readonly string[], unmoved: ReadonlySet<string>): void {
    const counted = movers.map((peer) => [peer, (this.#expected.get(peer) ?? 0) + 1] as const)
    const given = [...unmoved].map((peer) => [peer, PATIENCE] as const)
    this.#expected = new Map(movers.length > 0 ? [...counted, ...given] : [])
  }

  async #drainAndChange(range: BlockSpan, urgent: boolean, signal: AbortSignal): Promise<boolean> {
    const { say, sessions, find, change, placement = {}, clock, log } = this.#options
    const { stepMs = STEP_MS, loadMs = LOAD_MS, heardMs = HEARD_MS } = placement
    const began = clock.now()
    say({ ...range, inMs: heardMs + loadMs, left: false })
    let left = false
    try {
      for (;;) {
        await sleep(stepMs, { clock, signal })
        const state = { sessions: sessions(), sinceMs: clock.now() - began, urgent }
        const step = drainStep({ ...state, ...this.#verdict(range, await find(signal)) }, placement)
        if (step === 'wait') continue
        // Records may speak of servers that are gone: these are asked themselves.
        left = step === 'leave' && !this.#verdict(range, await this.#asked(signal)).opensGap
        break
      }
    } finally {
      if (!left) say(undefined)
    }
    if (!left) {
      log.info('not moving: the others have changed meanwhile')
      return false
    }
    await change(range, signal)
    return true
  }

  #verdict(
    range: BlockSpan,
    servers: readonly ServerInfo[]
  ): { opensGap: boolean; worth: boolean } {
    const { draining: _, next: __, ...info } = this.#options.info()
    const self = placedOf({ ...info, draining: false })
    const placed: PlacedServer[] = [...servers.map(placedOf), self]
    return {
      opensGap: opensGap(self.peer, placed, info.blockCount),
      worth: stillWorth(self.peer, range, placed, info.blockCount)
    }
  }

  /** Those who would be left with this server's blocks, and answer. */
  async #asked(signal: AbortSignal): Promise<readonly ServerInfo[]> {
    const { info, find, ask } = this.#options
    const { start, end } = info()
    const around = (await find(signal))
      .filter((one) => one.start < end && one.end > start && !one.next?.left)
      .sort((a, b) => b.throughput - a.throughput)
    return ask(around.slice(0, MOST_ASKED), signal)
  }
}
