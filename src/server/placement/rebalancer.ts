// Moves a server to other blocks when that helps the swarm. rebalance.ts decides; then the
// rebalancer fetches weights, announces the move, waits until the announcement has spread and the
// sessions are gone, checks again that nobody needs the server where it is, and changes blocks.
// Called by host.ts, which passes the actions. Knows no DHT, no engine and no link.
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

export interface RebalancerOptions {
  /** This server's current description. */
  info: () => ServerInfo
  sessions: () => number
  /** The other servers, by their records. */
  find: (signal: AbortSignal) => Promise<readonly ServerInfo[]>
  /** Asks these servers directly. Returns those that answer, with their current description. */
  ask: (servers: readonly ServerInfo[], signal: AbortSignal) => Promise<readonly ServerInfo[]>
  /** Whether there is disk space for the missing weights of these blocks. */
  fits: (range: BlockSpan) => boolean | Promise<boolean>
  /** Fetches weights while the old blocks are still served. */
  fetch: (range: BlockSpan, signal: AbortSignal) => Promise<void>
  /** Announces that this server drains and where it moves to; undefined: it stays. */
  say: (next: NextSpan | undefined) => void
  /** Serves these blocks instead. If that fails it serves the old ones again and rejects. */
  change: (range: BlockSpan, signal: AbortSignal) => Promise<void>
  placement?: PlacementOptions
  clock: Clock
  log: Log
}

export interface PlacementOptions extends MoveOptions, DrainOptions {
  /** Time between checks while it drains, ms. Default 2500. */
  stepMs?: number
  /** Expected time for loading other blocks, ms. Default 60,000. */
  loadMs?: number
}

const STEP_MS = 2_500
const LOAD_MS = 60_000
const SPREAD_MS = 15_000
/** After a failed move, no other is tried for this long, ms. */
const FAILED_MS = 1_800_000
/** Checks for which a server that should move first is waited for. */
const PATIENCE = 2
/** Most servers asked whether they still serve the blocks that would be left. */
const MOST_ASKED = 24

export class Rebalancer {
  readonly #options: RebalancerOptions
  /** No move before this time; set when a move failed. */
  #restUntil = -Infinity
  /** By peer: consecutive checks at which it should have moved and did not say so. */
  #expected = new Map<string, number>()

  constructor(options: RebalancerOptions) {
    this.#options = options
  }

  /**
   * Moves if it should.
   * @param servers the other servers, as just found
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
      `from blocks ${start}:${end} to ${range.start}:${range.end}: the weakest block ` +
        `would have ${move.toRate.toFixed(1)} tokens/s, not ${move.fromRate.toFixed(1)}`,
      { event: 'moving', from: `${start}:${end}`, to: `${range.start}:${range.end}` }
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

  /** A server that should move at every check and never does is not waited for any more. */
  #expect(movers: readonly string[], unmoved: ReadonlySet<string>): void {
    const counted = movers.map((peer) => [peer, (this.#expected.get(peer) ?? 0) + 1] as const)
    const given = [...unmoved].map((peer) => [peer, PATIENCE] as const)
    this.#expected = new Map(movers.length > 0 ? [...counted, ...given] : [])
  }

  async #drainAndChange(range: BlockSpan, urgent: boolean, signal: AbortSignal): Promise<boolean> {
    const { say, sessions, find, change, placement = {}, clock, log } = this.#options
    const { stepMs = STEP_MS, loadMs = LOAD_MS, spreadMs = SPREAD_MS } = placement
    const began = clock.now()
    say({ ...range, inMs: spreadMs + loadMs, left: false })
    let left = false
    try {
      for (;;) {
        await sleep(stepMs, { clock, signal })
        const state = { sessions: sessions(), sinceMs: clock.now() - began, urgent }
        const step = drainStep({ ...state, ...this.#verdict(range, await find(signal)) }, placement)
        if (step === 'wait') continue
        // Records may name servers that are gone, so these are asked directly.
        left = step === 'leave' && !this.#verdict(range, await this.#asked(signal)).opensGap
        break
      }
    } finally {
      if (!left) say(undefined)
    }
    if (!left) {
      log.info('the others have changed meanwhile', { event: 'not moving' })
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

  /** The servers that hold this server's blocks too and answer. */
  async #asked(signal: AbortSignal): Promise<readonly ServerInfo[]> {
    const { info, find, ask } = this.#options
    const { start, end } = info()
    const around = (await find(signal))
      .filter((one) => one.start < end && one.end > start && !one.next?.left)
      .sort((a, b) => b.throughput - a.throughput)
    return ask(around.slice(0, MOST_ASKED), signal)
  }
}
