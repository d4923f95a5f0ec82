// Checks in a private swarm before a session is opened or a step runs, of a training too: whether
// the peer's invite allows it, and whether the quota it shares is used up. An open swarm has no
// gate. Called by message-dispatch.ts. Knows no terminal.
import { AppError, denied } from '../../base/errors.ts'
import type { Clock } from '../../base/clock.ts'
import { whyNot, type Capability, type NamedModel } from '../../swarm/private/capability.ts'
import type { Act } from '../../swarm/private/invite-codec.ts'
import type { OpenSession, Step } from '../../wire/types.ts'
import type { SessionTable } from './sessions.ts'

export interface MemberGateOptions {
  /** What the peer of a link may do; undefined: nothing. */
  memberOf: (link: object) => Capability | undefined
  model: NamedModel
  sessions: SessionTable
  clock: Clock
}

const DAY_MS = 86_400_000
const SESSIONS_RETRY_MS = 5_000

export class MemberGate {
  readonly #options: MemberGateOptions
  /** Tokens computed today, by the id of the invite block that sets the quota. */
  readonly #tokens = new Map<string, number>()
  #day = 0

  constructor(options: MemberGateOptions) {
    this.#options = options
  }

  /**
   * @throws AppError DENIED, or BUSY if the holders of the invite have all the sessions it allows
   */
  open(link: object, message: OpenSession): void {
    const { sessions } = this.#options
    const member = this.#require(link, 'chat')
    if (sessions.get(message.session)) return
    for (const quota of member.quotas) {
      if (quota.sessions === undefined) continue
      const open = sessions.all().filter((served) => this.#shares(served.owner, quota.id)).length
      if (open < quota.sessions) continue
      throw new AppError('BUSY', `The session was refused: the invite permits ${open} at a time`, {
        retryAfterMs: SESSIONS_RETRY_MS
      })
    }
    this.#checkTokens(member, 0)
  }

  /**
   * Whether the peer may send a step of this session: its owner may, and so may a server that
   * pushes.
   */
  mayBring(link: object, step: Step): boolean {
    const { memberOf, model, sessions } = this.#options
    if (sessions.get(step.session)?.owner === link) return true
    const member = memberOf(link)
    return member !== undefined && whyNot(member, { act: 'serve', model }) === undefined
  }

  /**
   * Whether the peer may have `tokens` of a training step computed, which then count.
   * @throws AppError DENIED
   */
  train(link: object, tokens: number): void {
    const member = this.#require(link, 'tune')
    this.#checkTokens(member, tokens)
    this.#count(member, tokens)
  }

  /** Whether the session's owner may run the step, whoever sent it. @throws AppError DENIED */
  step(step: Step): void {
    const served = this.#options.sessions.get(step.session)
    if (!served || step.step <= served.lastStep) return
    this.#checkTokens(this.#require(served.owner, 'chat'), step.count)
  }

  /** Counts a step that is run for the session's owner. */
  spend({ session, count }: Pick<Step, 'session' | 'count'>): void {
    const { memberOf, sessions } = this.#options
    const served = sessions.get(session)
    const member = served && memberOf(served.owner)
    if (member) this.#count(member, count)
  }

  #count({ quotas }: Capability, tokens: number): void {
    for (const { id, tokensPerDay } of quotas) {
      if (tokensPerDay !== undefined) this.#tokens.set(id, this.#used(id) + tokens)
    }
  }

  #require(link: object, act: Act): Capability {
    const { memberOf, model } = this.#options
    const member = memberOf(link)
    const why = member ? whyNot(member, { act, model }) : 'the peer is no member'
    if (!member || why !== undefined) throw denied(`The request was refused: ${why}`)
    return member
  }

  #checkTokens(member: Capability, count: number): void {
    for (const { id, tokensPerDay } of member.quotas) {
      if (tokensPerDay === undefined) continue
      const used = this.#used(id)
      if (used < tokensPerDay && used + count <= tokensPerDay) continue
      const state = `${used} of ${tokensPerDay} tokens are used`
      throw denied(`The request was refused: the invite's tokens of today are spent (${state})`, {
        hint: 'They come back at midnight UTC'
      })
    }
  }

  #used(id: string): number {
    const day = Math.floor(this.#options.clock.wall() / DAY_MS)
    if (day !== this.#day) this.#tokens.clear()
    this.#day = day
    return this.#tokens.get(id) ?? 0
  }

  #shares(owner: object, id: string): boolean {
    return this.#options.memberOf(owner)?.ids.includes(id) ?? false
  }
}
