// What happens at a server, as counts for metrics and as lines for its log: sessions, refusals,
// moves, and what it served in all. Called by host.ts and the sessions. Knows no terminal, no HTTP.
import type { Clock } from '../base/clock.ts'
import type { AppError, ErrorCode } from '../base/errors.ts'
import { LineBudget } from '../base/line-budget.ts'
import { silentLog, type Log, type LogFields } from '../base/log.ts'

/** Why a session ended. */
export type SessionEnd =
  /** Its client closed it. */
  | 'done'
  /** Its client's link ended. */
  | 'client gone'
  /** It was unused for too long. */
  | 'idle'
  /** Unused for a while, it made room for another. */
  | 'made room'
  /** The server moves, or stops. */
  | 'server stops'
  /** The engine could not open it. */
  | 'failed'

/** What of a session is told. */
export interface ToldSession {
  readonly key: string
  readonly owner: { readonly peer: string }
  readonly start: number
  readonly end: number
  readonly maxTokens: number
  /** Tokens that were computed for it, those of repeated steps too. */
  readonly tokens: number
  /** Monotonic ms. */
  readonly openedAt: number
}

/** Counts since the server began. */
export interface ServedCounts {
  readonly sessions: number
  readonly peers: number
  readonly steps: number
  /** In steps of several tokens, as prompts are. */
  readonly promptTokens: number
  /** In steps of one token. */
  readonly generatedTokens: number
  /** Of the engine, and of waiting for it, ms. */
  readonly computeMs: number
  readonly queueMs: number
  /** Steps of trainings, their tokens each way, and the time until they were done, ms. */
  readonly trainingSteps: number
  readonly trainingTokens: number
  readonly trainingMs: number
  readonly moves: number
  readonly ended: Readonly<Partial<Record<SessionEnd, number>>>
  readonly refused: Readonly<Partial<Record<ErrorCode, number>>>
}

/** Who hears of every step and session, e.g. for metrics. */
export interface EventListener {
  /** A session has lived so long, ms. */
  onended?(livedMs: number, tokens: number): void
  onstep?(step: { count: number; computeMs: number; queueMs: number }): void
}

export interface ServerEventsOptions {
  clock: Clock
  log?: Log | undefined
  listener?: EventListener | undefined
}

/** Log lines in a minute of a kind that peers cause, and of refusals of one kind to one peer. */
const LINES = 60
const LINES_OF_REFUSAL = 2
/** Different peers are counted up to here; more are counted as this many. */
const MOST_PEERS = 10_000

export class ServerEvents {
  readonly #clock: Clock
  readonly #log: Log
  readonly #listener: EventListener
  readonly #beganAt: number
  readonly #lines: LineBudget
  readonly #peers = new Set<string>()
  readonly #ended = new Map<SessionEnd, number>()
  readonly #refused = new Map<ErrorCode, number>()
  #sessions = 0
  #steps = 0
  #promptTokens = 0
  #generatedTokens = 0
  #computeMs = 0
  #queueMs = 0
  #trainingSteps = 0
  #trainingTokens = 0
  #trainingMs = 0
  #moves = 0

  constructor({ clock, log = silentLog, listener = {} }: ServerEventsOptions) {
    this.#clock = clock
    this.#log = log
    this.#listener = listener
    this.#beganAt = clock.now()
    this.#lines = new LineBudget(clock)
  }

  get counts(): ServedCounts {
    return {
      sessions: this.#sessions,
      peers: this.#peers.size,
      steps: this.#steps,
      promptTokens: this.#promptTokens,
      generatedTokens: this.#generatedTokens,
      computeMs: this.#computeMs,
      queueMs: this.#queueMs,
      trainingSteps: this.#trainingSteps,
      trainingTokens: this.#trainingTokens,
      trainingMs: this.#trainingMs,
      moves: this.#moves,
      ended: Object.fromEntries(this.#ended),
      refused: Object.fromEntries(this.#refused)
    }
  }

  /** Of ServedCounts. */
  get trainingTokens(): number {
    return this.#trainingTokens
  }

  /** Something that happens seldom, e.g. 'ready'. */
  tell(event: string, message: string, fields: LogFields = {}): void {
    this.#log.info(message, { ...fields, event })
  }

  opened(session: ToldSession): void {
    const { key, owner, start, end, maxTokens } = session
    this.#sessions++
    if (this.#peers.size < MOST_PEERS) this.#peers.add(owner.peer)
    const [id, peer] = [key.slice(0, 8), owner.peer.slice(0, 8)]
    const message = `session ${id} of ${peer}: blocks ${start}:${end}, up to ${maxTokens} tokens`
    this.#often('opened', message, { session: id, peer, start, end, maxTokens })
  }

  ended(session: ToldSession, why: SessionEnd): void {
    const { key, owner, tokens, openedAt } = session
    const livedMs = this.#clock.now() - openedAt
    this.#ended.set(why, (this.#ended.get(why) ?? 0) + 1)
    this.#listener.onended?.(livedMs, tokens)
    const [id, peer] = [key.slice(0, 8), owner.peer.slice(0, 8)]
    const seconds = Math.round(livedMs / 100) / 10
    const message = `session ${id} of ${peer}: ${tokens} tokens in ${seconds} s, ${why}`
    this.#often('closed', message, { session: id, peer, tokens, seconds, why })
  }

  stepped(step: { count: number; computeMs: number; queueMs: number }): void {
    this.#steps++
    if (step.count > 1) this.#promptTokens += step.count
    else this.#generatedTokens += step.count
    this.#computeMs += step.computeMs
    this.#queueMs += step.queueMs
    this.#listener.onstep?.(step)
  }

  /** A step of a training was computed, `ms` after it came: waits for sessions count. */
  trained({ tokens, ms }: { tokens: number; ms: number }): void {
    this.#trainingSteps++
    this.#trainingTokens += tokens
    this.#trainingMs += ms
  }

  /** @param what was refused, e.g. 'a session' */
  refused(peer: string, what: string, { code, message }: AppError): void {
    this.#refused.set(code, (this.#refused.get(code) ?? 0) + 1)
    const from = peer.slice(0, 8)
    const text = `${what} of ${from}: ${code} ${message}`
    const key = `${from} ${what} ${code}`
    this.#often('refused', text, { peer: from, what, code }, { key, most: LINES_OF_REFUSAL })
  }

  moving(message: string, fields: LogFields = {}): void {
    this.tell('moving', message, fields)
  }

  moved(message: string, fields: LogFields = {}): void {
    this.#moves++
    this.tell('moved', message, fields)
  }

  /** What was served in all. */
  finished(): void {
    const { sessions, peers, promptTokens, generatedTokens, computeMs, refused } = this.counts
    const { trainingSteps, trainingTokens } = this.counts
    const tokens = promptTokens + generatedTokens
    const seconds = Math.round((this.#clock.now() - this.#beganAt) / 1000)
    const turnedAway = Object.values(refused).reduce((sum, count) => sum + count, 0)
    const message =
      `${plural(sessions, 'session')} of ${plural(peers, 'peer')}, ` +
      `${plural(tokens, 'token')} in ${(computeMs / 1000).toFixed(1)} s of computing, ` +
      (trainingSteps > 0 ? `${plural(trainingTokens, 'token')} of trainings, ` : '') +
      `${plural(turnedAway, 'request')} refused, in ${durationText(seconds)}`
    const fields = { sessions, peers, promptTokens, generatedTokens, refused: turnedAway, seconds }
    const more = { trainingSteps, trainingTokens, computeSeconds: computeMs / 1000 }
    this.tell('served', message, { ...fields, ...more })
  }

  /** Peers decide how often this happens, and must not fill the disk with it. */
  #often(
    event: string,
    message: string,
    fields: LogFields,
    { key = event, most = LINES }: { key?: string; most?: number } = {}
  ): void {
    const left = this.#lines.take(key, most)
    if (left === undefined) return
    const more = left > 0 ? ` (and ${left} more since the last line like this)` : ''
    this.tell(event, `${message}${more}`, left > 0 ? { ...fields, leftOut: left } : fields)
  }
}

function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`
}

/** e.g. '3 h 12 min', '48 s'. */
export function durationText(seconds: number): string {
  const [days, hours, minutes] = [86_400, 3_600, 60].map((unit) => Math.floor(seconds / unit))
  if (days) return `${days} d ${(hours ?? 0) % 24} h`
  if (hours) return `${hours} h ${(minutes ?? 0) % 60} min`
  return minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`
}
