// What an invite permits: every block of its chain must agree, so a later block can only restrict.
// Pure policy; knows no signatures and no network.
import { ACTS, type Act, type Caveats } from './invite-codec.ts'

export interface CheckedBlock {
  /** Hex, 16 bytes: the hash of the chain up to here. */
  readonly id: string
  readonly key: Uint8Array
  readonly caveats: Caveats
}

export interface Quota {
  /** The invite that its holders share. */
  readonly id: string
  readonly tokensPerDay?: number
  readonly sessions?: number
}

export interface Capability {
  /** Ids of the blocks, the creator's first; the last id names this invite. */
  readonly ids: readonly string[]
  /** Public key of the holder. */
  readonly key: Uint8Array
  readonly may: readonly Act[]
  /**
   * For each block that names models, those models; all of the blocks must agree. Names are in
   * lower case.
   */
  readonly models: readonly ReadonlySet<string>[]
  readonly quotas: readonly Quota[]
  /** Wall clock, ms; Infinity: never. */
  readonly expiresAt: number
  /** The last label in the chain. */
  readonly label: string | undefined
}

/** A model by its id and the names that its user knows. */
export interface NamedModel {
  /** Hex of the content id. */
  readonly id: string
  /** Names that its user gives it; the first is used in messages. */
  readonly names: readonly string[]
}

export interface Wish {
  readonly act: Act
  /** Undefined: any model. */
  readonly model?: NamedModel | undefined
}

export interface Standing {
  /** Wall clock, ms. */
  readonly now: number
  readonly revoked: ReadonlySet<string>
}

export function capabilityOf(blocks: readonly CheckedBlock[]): Capability {
  const all = blocks.map(({ caveats }) => caveats)
  return {
    ids: blocks.map(({ id }) => id),
    key: blocks.at(-1)?.key ?? new Uint8Array(0),
    may: ACTS.filter((act) => all.every(({ may }) => !may || may.includes(act))),
    models: all.flatMap(({ models }) =>
      models ? new Set(models.map((one) => one.toLowerCase())) : []
    ),
    quotas: blocks.flatMap(({ id, caveats: { tokensPerDay, sessions } }) =>
      tokensPerDay === undefined && sessions === undefined
        ? []
        : {
            id,
            ...(tokensPerDay === undefined ? {} : { tokensPerDay }),
            ...(sessions === undefined ? {} : { sessions })
          }
    ),
    expiresAt: Math.min(...all.map(({ expiresAt }) => expiresAt ?? Infinity)),
    label: all.findLast(({ label }) => label !== undefined)?.label
  }
}

/** Why the holder is not a member now; undefined when it is one. */
export function whyBarred(capability: Capability, standing: Standing): string | undefined {
  const { now, revoked } = standing
  if (capability.ids.some((id) => revoked.has(id))) return 'the invite was revoked'
  if (capability.expiresAt <= now) return 'the invite has expired'
  if (capability.may.length === 0) return 'the invite permits nothing'
  return undefined
}

/** Why a member may not do this; undefined when it may. */
export function whyNot(capability: Capability, wish: Wish): string | undefined {
  const { act, model } = wish
  if (!capability.may.includes(act)) return `the invite does not permit to ${act}`
  if (model === undefined) return undefined
  const names = [model.id, ...model.names.map((name) => name.toLowerCase())]
  const permitted = capability.models.every((set) => names.some((name) => set.has(name)))
  return permitted ? undefined : `the invite is not for the model '${model.names[0] ?? model.id}'`
}
