// Swarms for simulate-routing.ts: places and their distances, servers and how slow they are, the
// Petals paper's settings. Everything by a seed.
import type { BlockSpan } from '../../src/base/block-span.ts'
import { toHex } from '../../src/base/bytes.ts'
import type { Random } from '../../src/base/random.ts'
import { weakestStart } from '../../src/server/placement/placement.ts'
import type { ServerInfo } from '../../src/wire/types.ts'

export interface Place {
  readonly x: number
  readonly y: number
  /** Of its own line, one way, ms. */
  readonly lineMs: number
}

export interface Server {
  readonly peer: string
  readonly info: ServerInfo
  readonly place: Place
  readonly blockMs: number
  /** Every `everyMs` it is `times` slower for `forMs`, as when its owner plays a game. */
  readonly slow: { everyMs: number; forMs: number; phaseMs: number; times: number } | undefined
  freeAt: number
}

export interface World {
  readonly blockCount: number
  readonly servers: readonly Server[]
  readonly byPeer: ReadonlyMap<string, Server>
  readonly clients: readonly { place: Place; pinged: readonly Server[]; startAt: number }[]
}

export interface Spec extends BlockSpan {
  readonly blockMs: number
  readonly place: Place
  readonly slows: boolean
}

export function rttMs(a: Place, b: Place): number {
  return 2 * (Math.hypot(a.x - b.x, a.y - b.y) + a.lineMs + b.lineMs)
}

function randomPlace(random: Random): Place {
  // A few regions of the world, up to 120 ms apart one way, and what is around them.
  const [x, y] = [random.below(3) * 45, random.below(2) * 35]
  const lineMs = 1 + 9 * random.next() ** 2
  return { x: x + 15 * random.next(), y: y + 15 * random.next(), lineMs }
}

export function makeWorld(
  specs: readonly Spec[],
  blockCount: number,
  options: { clients: number; clientPlace?: Place; random: Random }
): World {
  const { random } = options
  const keys = specs.map(() => Uint8Array.from({ length: 32 }, () => random.below(256)))
  const servers = specs.map((spec, index): Server => {
    const likely = specs.flatMap((one, at) =>
      one.start <= spec.end && one.end > spec.end && at !== index ? [at] : []
    )
    // Five successors by chance, as Petals' servers publish.
    const pings = Array.from({ length: Math.min(5, likely.length) }, () => {
      const at = likely[random.below(likely.length)] ?? 0
      const place = specs[at]?.place ?? spec.place
      return { peer: keys[at] ?? new Uint8Array(32), ms: rttMs(spec.place, place) }
    })
    const peer = keys[index] ?? new Uint8Array(32)
    const slow = spec.slows && random.next() < 0.2
    return {
      peer: toHex(peer),
      place: spec.place,
      blockMs: spec.blockMs,
      slow: slow
        ? { everyMs: 120_000, forMs: 40_000, phaseMs: 120_000 * random.next(), times: 4 }
        : undefined,
      freeAt: 0,
      info: {
        peer,
        model: new Uint8Array(32),
        modelName: 'simulated',
        blockCount,
        hiddenSize: 8192,
        start: spec.start,
        end: spec.end,
        quant: 'int8',
        throughput: (1000 / spec.blockMs) * (0.9 + 0.2 * random.next()),
        prefillThroughput: 0,
        maxTokens: 1 << 20,
        freeTokens: 1 << 20,
        version: '0',
        draining: false,
        issuedAt: 0,
        expiresAt: Infinity,
        pings
      }
    }
  })
  const clients = Array.from({ length: options.clients }, () => {
    const ends = (block: number): Server[] => {
      const all = servers.filter(({ info }) => info.start <= block && info.end > block)
      return [0, 1, 2].flatMap(() => all[random.below(all.length)] ?? [])
    }
    return {
      place: options.clientPlace ?? randomPlace(random),
      pinged: [...ends(0), ...ends(blockCount - 1)],
      startAt: 5_000 * random.next()
    }
  })
  return { blockCount, servers, byPeer: new Map(servers.map((one) => [one.peer, one])), clients }
}

export function slowness({ slow }: Server, now: number): number {
  if (!slow) return 1
  return (now + slow.phaseMs) % slow.everyMs < slow.forMs ? slow.times : 1
}

/** A swarm placed by our rule, of machines of many speeds. */
export function randomSpecs(count: number, blockCount: number, random: Random): Spec[] {
  const rates = new Float64Array(blockCount)
  return Array.from({ length: count }, () => {
    const size = 4 + Math.floor(20 * random.next() ** 2)
    const blockMs = 1.5 * 6 ** random.next()
    const start = weakestStart(rates, size)
    for (let block = start; block < start + size; block++) {
      rates[block] = (rates[block] ?? 0) + 1 / blockMs / size
    }
    return { start, end: start + size, blockMs, place: randomPlace(random), slows: true }
  })
}

/** BLOOM's 70 blocks on three equal servers at one distance, as in the paper; 8.2 ms a block. */
export function threeSpecs(oneWayMs: number): Spec[] {
  const cuts = [0, 24, 47, 70]
  return [0, 1, 2].map((at) => ({
    start: cuts[at] ?? 0,
    end: cuts[at + 1] ?? 70,
    blockMs: 8.2,
    place: { x: 0, y: 0, lineMs: oneWayMs / 2 },
    slows: false
  }))
}

/**
 * The paper's kinds of 14 GPUs; blocks by memory and times by memory bandwidth are our estimate.
 */
export function fourteenSpecs(random: Random): Spec[] {
  const kinds = [
    { count: 2, blocks: 3, blockMs: 8 },
    { count: 4, blocks: 3, blockMs: 5 },
    { count: 2, blocks: 8, blockMs: 3.6 },
    { count: 2, blocks: 5, blockMs: 6.5 },
    { count: 4, blocks: 8, blockMs: 4.2 }
  ]
  const rates = new Float64Array(70)
  return kinds
    .flatMap((kind) => Array.from({ length: kind.count }, () => kind))
    .sort((a, b) => b.blocks - a.blocks)
    .map(({ blocks, blockMs }) => {
      const start = weakestStart(rates, blocks)
      for (let block = start; block < start + blocks; block++)
        rates[block] = (rates[block] ?? 0) + 1
      return { start, end: start + blocks, blockMs, place: randomPlace(random), slows: false }
    })
}
