// What /swarm.json gives, of which src/swarm/watch/snapshot.ts says more: only what the page shows.

export interface SwarmSnapshot {
  readonly at: number
  readonly looked: boolean
  readonly reachable: boolean
  readonly models: readonly ModelSnapshot[]
  readonly events: readonly {
    readonly at: number
    readonly kind: string
    readonly peer: string
    readonly name: string
    readonly start: number
    readonly end: number
  }[]
}

export interface ModelSnapshot {
  readonly name: string
  readonly blockCount: number
  readonly blocks: readonly { readonly servers: number; readonly tokensPerSecond: number }[]
  readonly hosts: readonly ServerSnapshot[]
  readonly needs: readonly {
    readonly start: number
    readonly end: number
    readonly why: 'missing' | 'alone' | 'slowest'
    readonly command: string
  }[]
  readonly history: readonly { readonly at: number; readonly tokensPerSecond: number }[]
}

export interface ServerSnapshot {
  readonly peer: string
  readonly start: number
  readonly end: number
  readonly state: 'alive' | 'silent' | 'unasked'
  readonly quant: string
  readonly arithmetic: string | null
  readonly adapters: readonly string[] | null
  readonly version: string
  readonly tokensPerSecond: number
  readonly prefillTokensPerSecond: number
  readonly freeTokens: number
  readonly trains: boolean
  readonly trainedTokens: number | null
  readonly draining: boolean
  readonly next: object | null
  readonly rttMs: number | null
}
