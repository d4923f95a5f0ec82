// This process as a member of a private swarm: proves its invite, checks the proofs of others
// against the newest list of revoked invites, and opens what members seal for each other. Knows no
// connections: node.ts asks about each one and closes those that are refused.
import { systemClock, type Clock } from '../../base/clock.ts'
import { denied, toAppError, type AppError } from '../../base/errors.ts'
import { toHex } from '../../base/bytes.ts'
import { silentLog, type Log } from '../../base/log.ts'
import { whyBarred, whyNot, type Capability, type NamedModel } from './capability.ts'
import type { Act } from './invite-codec.ts'
import { swarmIdOf, type Invite } from './invite.ts'
import { checkProof, makeProof, type ProofContext, type Proved } from './proof.ts'
import { MAX_RECORD_BYTES } from '../record.ts'
import { readRevocations, type RevocationList } from './revocations.ts'
import { deriveKey, seal, unseal } from './seal.ts'

export interface MembershipOptions {
  /** The newest list that was known before, if any; a damaged one is ignored. */
  revocations?: Uint8Array | undefined
  /** Called with each newer list, which should be kept. */
  onrevocations?: (list: RevocationList) => void
  clock?: Clock
  log?: Log
}

export class Membership {
  readonly invite: Invite
  /** Hex of the swarm's id, 32 bytes: known to all members, and meaningless to others. */
  readonly swarmId: string
  /** Key of the topics at which members meet. */
  readonly topicSecret: Uint8Array
  /** Key with which members find each other on a local network. */
  readonly lanKey: Uint8Array
  readonly #recordKey: Uint8Array
  readonly #clock: Clock
  readonly #log: Log
  readonly #onrevocations: (list: RevocationList) => void
  #list: RevocationList | undefined

  constructor(invite: Invite, options: MembershipOptions = {}) {
    this.invite = invite
    this.swarmId = toHex(swarmIdOf(invite))
    this.topicSecret = deriveKey(invite.secret, 'topics')
    this.lanKey = deriveKey(invite.secret, 'lan')
    this.#recordKey = deriveKey(invite.secret, 'records')
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? silentLog
    this.#onrevocations = options.onrevocations ?? (() => {})
    if (options.revocations) this.#list = this.#readKept(options.revocations)
  }

  /** What this process itself may do. */
  get own(): Capability {
    return this.invite.capability
  }

  /** The newest list of revoked invites. */
  get revocations(): RevocationList | undefined {
    return this.#list
  }

  /** Why this process is no longer a member. */
  get barred(): AppError | undefined {
    const why = this.whyBarred(this.own)
    return why === undefined
      ? undefined
      : denied(`The swarm cannot be used: ${why}`, { hint: 'Ask for a new invite' })
  }

  /** @throws AppError DENIED when this process wants to do what its invite does not permit */
  require(act: Act, model?: NamedModel): void {
    const why = this.barred ?? this.#whyNot(this.own, act, model)
    if (why) throw why
  }

  whyBarred(capability: Capability): string | undefined {
    return whyBarred(capability, {
      now: this.#clock.wall(),
      revoked: this.#list?.ids ?? new Set<string>()
    })
  }

  prove(context: ProofContext): Uint8Array {
    return makeProof(this.invite, context, this.#list?.seq ?? 0)
  }

  /**
   * The invite of a peer; it may be one that is refused now.
   * @throws AppError DENIED for a stranger
   */
  check(context: ProofContext, proof: Uint8Array | undefined): Proved {
    return checkProof(this.invite, context, proof)
  }

  /** Takes a list; false when it is not newer. @throws AppError CORRUPT for a forged one */
  learn(bytes: Uint8Array): boolean {
    const list = readRevocations(this.invite, bytes)
    if (list.seq <= (this.#list?.seq ?? 0)) return false
    this.#list = list
    this.#onrevocations(list)
    return true
  }

  /** A record for the DHT that only members can read; all records have the same size. */
  sealRecord(record: Uint8Array): Uint8Array {
    return seal(this.#recordKey, record, MAX_RECORD_BYTES)
  }

  /** Undefined for what was not sealed by a member. */
  openRecord(value: Uint8Array): Uint8Array | undefined {
    return unseal(this.#recordKey, value)
  }

  #whyNot(capability: Capability, act: Act, model: NamedModel | undefined): AppError | undefined {
    const why = whyNot(capability, { act, model })
    return why === undefined ? undefined : denied(`The swarm cannot be used so: ${why}`)
  }

  #readKept(bytes: Uint8Array): RevocationList | undefined {
    try {
      return readRevocations(this.invite, bytes)
    } catch (error) {
      this.#log.warn(`the kept list of revoked invites is not used: ${toAppError(error).message}`)
      return undefined
    }
  }
}
