// Checks in a private swarm before a session is opened or a step runs: whether the peer's invite
// allows it, and whether the quota it shares is used up. An open swarm has no gate. Called by
// message-dispatch.ts. Knows no terminal.
import { AppError, denied, toAppError } from '../../base/errors.ts'
import type { Clock } from '../../base/clock.ts'
import { whyNot, type Capability, type NamedModel } from '../../swarm/private/capability.ts'
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

  /** Why the peer may not train here: it needs what a chat needs. */
  whyNoTraining(link: object): AppError | undefined {
    try {
      this.#require(link, 'chat')
      return undefined
    } catch (error) {
      return toAppError(error)
    }
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
    const quotas = served ? memberOf(served.owner)?.quotas : undefined
    for (const { id, tokensPerDay } of quotas ?? []) {
      if (tokensPerDay !== undefined) this.#tokens.set(id, this.#used(id) + count)
    }
  }

  #require(link: object, act: 'chat' | 'serve'): Capability {
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
