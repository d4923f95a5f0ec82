// A chat that is watched while it answers: when text came, and when it reported (--debug) that it
// avoided a server, had a new route, and had replayed to it. For scripts/prove/chaos.ts.
import type { Program } from '../processes.ts'

export interface Moment {
  readonly ms: number
  readonly line: string
}

/** The effect of one fault, ms. */
export interface Gap {
  /** From the fault to the last time that the client gave a server up because of it. */
  readonly detectMs: number
  /** From there to the new route: planning, reaching, opening. */
  readonly openMs: number
  /** What the new route had to be fed again, and how long that took. */
  readonly replayMs: number
  readonly replayed: number
  /** Longest time without text from the fault on. */
  readonly pauseMs: number
}

const POLL_MS = 4
/** What client/session/failover.ts reports when it gives a server up. */
const LEAVING = 'debug: leaving '

export class WatchedAnswer {
  readonly lines: Moment[] = []
  /** Times at which text came. */
  readonly texts: number[] = []
  readonly #program: Program
  readonly #over: Promise<void>

  constructor(program: Program) {
    this.#program = program
    this.#over = this.#watch()
  }

  get over(): boolean {
    return this.#program.over
  }

  get text(): string {
    return this.#program.stdout
  }

  /** Servers of the latest route: first 8 digits of keys, by first block. */
  get route(): readonly string[] {
    const latest = this.lines.findLast(({ line }) => line.includes('debug: route '))
    return [...(latest?.line.matchAll(/([0-9a-f]{8})\[/g) ?? [])].map(([, peer = '']) => peer)
  }

  /** Resolves when `holds`, or the answer is over, or time is up. */
  async until(holds: () => boolean, ms: number): Promise<boolean> {
    const end = performance.now() + ms
    while (!holds() && !this.over && performance.now() < end) await Bun.sleep(POLL_MS)
    return holds()
  }

  /**
   * Waits for text after the new route that follows a fault at `at`; undefined when the fault had
   * no effect.
   */
  async gapAfter(at: number, feltMs: number, ms: number): Promise<Gap | undefined> {
    const news = (part: string): Moment | undefined =>
      this.lines.findLast((moment) => moment.ms >= at && moment.line.includes(part))
    await this.until(() => news(LEAVING) !== undefined, feltMs)
    if (!news(LEAVING)) return undefined
    const routeAfter = (): Moment | undefined => {
      const [given, route] = [news(LEAVING), news('debug: route ')]
      return given && route && route.ms >= given.ms ? route : undefined
    }
    const textAfter = (): number | undefined => {
      const route = routeAfter()
      return route && this.texts.find((text) => text > route.ms)
    }
    await this.until(() => textAfter() !== undefined, ms)
    const [given, route, text] = [news(LEAVING), routeAfter(), textAfter()]
    if (!given || !route || text === undefined) return undefined
    const history = /history of (\d+) replayed in (\d+) ms/.exec(news('history of')?.line ?? '')
    return {
      detectMs: given.ms - at,
      openMs: route.ms - given.ms,
      replayMs: Number(history?.[2] ?? 0),
      replayed: Number(history?.[1] ?? 0),
      pauseMs: this.longestPause(at, text)
    }
  }

  /** Longest time without text between two moments. */
  longestPause(from: number, to: number): number {
    const times = [from, ...this.texts.filter((text) => text > from && text < to), to]
    return Math.max(...times.slice(1).map((text, i) => text - (times[i] ?? text)))
  }

  /** @throws Error when the chat failed */
  async end(ms: number): Promise<string> {
    const { code, stdout, stderr } = await this.#program.end(ms)
    await this.#over
    if (code !== 0) throw new Error(`chat ended with ${code}: ${stderr.slice(-2000)}`)
    return stdout
  }

  async #watch(): Promise<void> {
    let seen = 0
    let read = 0
    while (!this.over) {
      await Bun.sleep(POLL_MS)
      const now = performance.now()
      const { stdout, stderr } = this.#program
      if (stdout.length > seen) this.texts.push(now)
      seen = stdout.length
      for (let end = stderr.indexOf('\n', read); end >= 0; end = stderr.indexOf('\n', read)) {
        this.lines.push({ ms: now, line: stderr.slice(read, end) })
        read = end + 1
      }
    }
  }
}
