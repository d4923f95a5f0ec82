// What a watched swarm looks like at a moment, in a form that becomes JSON as it is: times are
// milliseconds since 1970, peers and models hex, ends of ranges exclusive.
import type { BlockSpan } from '../../base/block-span.ts'
import type { BlockState, ModelSummary } from '../summary.ts'

export interface SwarmSnapshot {
  readonly at: number
  /** Since when this process watches. */
  readonly since: number
  /** Whether a look has been finished. */
  readonly looked: boolean
  /** Whether the last look found the swarm; false: its DHT does not answer. */
  readonly reachable: boolean
  readonly models: readonly ModelSnapshot[]
  /** Of the last hour, the newest first. */
  readonly events: readonly SwarmEvent[]
}

export interface ModelSnapshot extends ModelSummary {
  /** How many servers have each block, and what they can do together, tokens a second. */
  readonly blocks: readonly BlockState[]
  /** By first block. */
  readonly hosts: readonly ServerSnapshot[]
  /** Where another server would help most, the worst first. */
  readonly needs: readonly Need[]
  /** One sample a minute of the last hour, the oldest first. */
  readonly history: readonly Sample[]
}

export interface ServerSnapshot extends BlockSpan {
  readonly peer: string
  /** 'alive': it answered; 'silent': it did not yet; 'unasked': only its record was read. */
  readonly state: 'alive' | 'silent' | 'unasked'
  readonly quant: string
  /** Null: it does not say. */
  readonly arithmetic: string | null
  /** Beginnings of ids of adapters that it has for everybody; null: it can use none. */
  readonly adapters: readonly string[] | null
  /** Whether it takes steps of trainings. */
  readonly trains: boolean
  /** Tokens of trainings that it has computed, each way; null: it was not asked. */
  readonly trainedTokens: number | null
  readonly version: string
  /** Through all of its blocks. */
  readonly tokensPerSecond: number
  readonly prefillTokensPerSecond: number
  readonly freeTokens: number
  /** Longest session. */
  readonly maxTokens: number
  readonly draining: boolean
  /** Whether it changes blocks by itself. */
  readonly moves: boolean
  readonly next: (BlockSpan & { readonly inMs: number; readonly loading: boolean }) | null
  /** From here, ms; null: not measured. */
  readonly rttMs: number | null
  /** To other servers, as it says. */
  readonly pings: readonly { readonly peer: string; readonly ms: number }[]
  /** By this process. */
  readonly firstSeenAt: number
  readonly lastSeenAt: number
}

/** Blocks where another server would help. */
export interface Need extends BlockSpan {
  /** 'missing': nobody serves them; 'alone': one server does, and nobody takes over; 'slowest'. */
  readonly why: 'missing' | 'alone' | 'slowest'
  readonly servers: number
  readonly tokensPerSecond: number
  /** What to type on another machine. */
  readonly command: string
}

export interface Sample {
  readonly at: number
  readonly servers: number
  readonly tokensPerSecond: number
  readonly missingBlocks: number
}

export interface SwarmEvent extends BlockSpan {
  readonly at: number
  /** 'left': it said so; 'lost': it was heard no more. */
  readonly kind: 'joined' | 'moved' | 'left' | 'lost'
  readonly peer: string
  readonly model: string
  readonly name: string
}
