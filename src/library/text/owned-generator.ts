// A session over the swarm with the generator on it, and what is told of its route.
import type { RouteHop } from '../../client/route/route.ts'
import type { WeightedPack } from '../../client/session/session-adapters.ts'
import type { Published } from '../../client/session/prefix-naming.ts'
import type { Generator } from '../../client/text/generate.ts'

/** What happens to a session's route while it answers. */
export interface RouteNews {
  readonly kind: 'route' | 'reroute' | 'wait' | 'resume'
  /** In words, for people. */
  readonly text: string
  /** With 'route': which servers compute which blocks from here on. */
  readonly route?: readonly RouteHop[]
}

/** A generator with the session under it. */
export interface OwnedGenerator {
  readonly generator: Generator
  /** Which servers compute which blocks now. */
  route(): readonly RouteHop[]
  /** Number of times that servers were replaced or opened again. Default: it is not known. */
  readonly reroutes?: () => number
  /** Told what happens to the route; replaced by each answer. */
  onnews: (news: RouteNews) => void
  /** An answer has ended: remembers its servers for the next process. */
  readonly remember?: () => Promise<void>
  close(): Promise<void>
}

/** What one session is opened with. */
export interface SessionWishes {
  /** Instructions that sessions of several clients begin with. */
  readonly published?: Published | undefined
  /**
   * Who guesses tokens beside the text itself: a model's name, 'none', 'auto' for a model of the
   * cache where it pays, or false for no guesses at all. Default 'none'.
   */
  readonly draft?: string | false | undefined
  /** What it runs with, in the order in which they add. Default: nothing. */
  readonly adapters?: readonly WeightedPack[] | undefined
}

export type { Published }
