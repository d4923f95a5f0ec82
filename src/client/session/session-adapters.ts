// The adapters that a session runs with, in their order: what servers are told, what they may ask
// for, and rows that stand before the session's own. Knows no links.
import { badInput } from '../../base/errors.ts'
import {
  hashOf,
  packSource,
  type AdapterPack,
  type AdapterSource
} from '../../weights/adapters/adapter-pack.ts'
import { LIMITS } from '../../wire/protocol.ts'
import type { WireAdapter } from '../../wire/types.ts'

/** An adapter, and the factor of what it adds. */
export interface WeightedPack {
  readonly pack: AdapterPack
  /** Default 1. */
  readonly weight?: number | undefined
}

export class SessionAdapters {
  readonly wire: readonly WireAdapter[]
  readonly source: AdapterSource
  readonly packs: readonly AdapterPack[]

  /** @throws AppError BAD_INPUT for adapters that cannot be used together */
  constructor(adapters: readonly WeightedPack[]) {
    this.packs = adapters.map(({ pack }) => pack)
    const { packs } = this
    if (packs.length > LIMITS.adapters) {
      throw badInput(`${packs.length} adapters cannot be used at once: ${LIMITS.adapters} can`)
    }
    if (new Set(packs.map(({ name }) => name)).size < packs.length) {
      throw badInput('An adapter cannot be used twice: give it one weight')
    }
    this.wire = adapters.map(({ pack, weight = 1 }) => ({ id: pack.id, weight: rounded(weight) }))
    const prompting = this.wire.filter((_, i) => (packs[i]?.positions ?? 0) > 0)
    if (prompting.length > 1 || prompting.some(({ weight }) => weight !== 1)) {
      throw badInput('Adapters with prompts cannot be mixed with each other, and count 1')
    }
    this.source = packSource((id) => packs.find(({ name }) => name === id))
  }

  /** Rows before the session's own, (positions, hiddenSize). */
  get prompt(): Float32Array {
    return this.packs.find(({ positions }) => positions > 0)?.prompt ?? new Float32Array(0)
  }

  /** How many those are. */
  get positions(): number {
    return Math.max(0, ...this.packs.map(({ positions }) => positions))
  }

  /** What stands for the model where prefixes get their names: other adapters, other names. */
  modelOf(model: Uint8Array): Uint8Array {
    const parts = this.wire.flatMap(({ id, weight }) => [
      id,
      new Uint8Array(Float32Array.of(weight).buffer)
    ])
    return hashOf(Buffer.concat([model, ...parts]))
  }
}

/** As it travels. */
function rounded(weight: number): number {
  if (!Number.isFinite(weight)) throw badInput(`An adapter cannot count ${weight} times`)
  return Math.fround(weight)
}
