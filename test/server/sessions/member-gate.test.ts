// Who may open sessions and run steps at a server of a private swarm, and how much.
import { describe, expect, test } from 'bun:test'
import type { AppError } from '../../../src/base/errors.ts'
import { MemberGate } from '../../../src/server/sessions/member-gate.ts'
import { SessionMarks } from '../../../src/server/sessions/session-marks.ts'
import { SessionTable, type ServedSession } from '../../../src/server/sessions/sessions.ts'
import type { Capability } from '../../../src/swarm/private/capability.ts'
import type { Caveats } from '../../../src/swarm/private/invite-codec.ts'
import {
  createSwarm,
  issueInvite,
  narrowInvite,
  type Invite
} from '../../../src/swarm/private/invite.ts'
import { encodeTensor } from '../../../src/wire/tensor.ts'
import type { OpenSession, Step } from '../../../src/wire/types.ts'
import { FakeClock } from '../../support/fakes/fake-clock.ts'

const swarm = createSwarm()
const model = { id: 'ab'.repeat(32), names: ['Stories', 'stories260k'] }

/** A peer as the gate knows it: an object. */
class Peer {
  readonly peer = 'peer'
  opened(): void {}
  result(): void {}
  error(): void {}
  step(): void {}
}

class Gate {
  readonly clock = new FakeClock()
  readonly sessions = new SessionTable()
  readonly members = new Map<object, Capability>()
  readonly gate = new MemberGate({
    memberOf: (link) => this.members.get(link),
    model,
    sessions: this.sessions,
    clock: this.clock
  })

  peer(invite: Invite | Caveats = {}): Peer {
    const peer = new Peer()
    const { capability } = 'blocks' in invite ? invite : issueInvite(swarm, invite)
    this.members.set(peer, capability)
    return peer
  }

  /** What opening comes to; the session is then in the table. */
  open(peer: Peer, id: number): string {
    const session = new Uint8Array(16).fill(id)
    const message: OpenSession = {
      session,
      model: new Uint8Array(32),
      start: 0,
      end: 2,
      maxTokens: 9
    }
    const result = attempt(() => this.gate.open(peer, message))
    if (result !== 'ok' || this.sessions.get(session)) return result
    const served: ServedSession = {
      id: session,
      key: Buffer.from(session).toString('hex'),
      owner: peer,
      start: 0,
      end: 2,
      compute: 1,
      opening: undefined,
      adapters: undefined,
      adaptersKey: '',
      maxTokens: 9,
      length: 0,
      tokens: 0,
      marks: new SessionMarks(),
      forget: false,
      lastStep: -1,
      openedAt: 0,
      usedAt: 0,
      closed: false
    }
    this.sessions.add(served)
    return result
  }

  step(id: number, step: number, count: number): string {
    const message = stepOf(id, step, count)
    const result = attempt(() => this.gate.step(message))
    const served = this.sessions.get(message.session)
    // As a server does that accepts it.
    if (served && result === 'ok' && step > served.lastStep) this.gate.spend(message)
    if (served && result === 'ok') served.lastStep = Math.max(served.lastStep, step)
    return result
  }
}

function stepOf(id: number, step: number, count: number): Step {
  const session = new Uint8Array(16).fill(id)
  const tensor = encodeTensor(new Float32Array(count), count, 1, 'f32')
  return { session, step, kind: 'forward', start: 0, count, deadlineMs: 1, route: [], tensor }
}

function attempt(run: () => void): string {
  try {
    run()
    return 'ok'
  } catch (error) {
    return (error as AppError).code
  }
}

describe('MemberGate', () => {
  test('opens sessions for those whose invite permits to chat with this model', () => {
    const gate = new Gate()
    const peers = [
      gate.peer(),
      gate.peer({ may: ['chat'] }),
      gate.peer({ may: ['serve'] }),
      gate.peer({ models: ['STORIES260K'] }),
      gate.peer({ models: [model.id] }),
      gate.peer({ models: ['another', 'cd'.repeat(32)] }),
      new Peer()
    ]
    expect(peers.map((peer, i) => gate.open(peer, i))).toEqual([
      'ok',
      'ok',
      'DENIED',
      'ok',
      'ok',
      'DENIED',
      'DENIED'
    ])
  })

  test('takes steps from the owner of the session and from servers, not from other guests', () => {
    const gate = new Gate()
    const [owner, guest] = [gate.peer({ may: ['chat'] }), gate.peer({ may: ['chat'] })]
    const [server, elsewhere] = [gate.peer({ may: ['serve'] }), gate.peer({ models: ['another'] })]
    gate.open(owner, 1)
    const step = stepOf(1, 0, 1)
    const peers = [owner, guest, server, elsewhere, new Peer()]
    expect(peers.map((peer) => gate.gate.mayBring(peer, step))).toEqual([
      true,
      false,
      true,
      false,
      false
    ])
  })

  test('lets the holders of an invite have so many sessions together', () => {
    const gate = new Gate()
    const team = issueInvite(swarm, { sessions: 3 })
    const [one, two] = [gate.peer(team), gate.peer(narrowInvite(team, { sessions: 1 }))]
    const other = gate.peer()
    const codes = [
      gate.open(two, 1),
      gate.open(two, 2),
      gate.open(two, 1),
      gate.open(one, 3),
      gate.open(one, 4),
      gate.open(one, 5),
      gate.open(other, 6)
    ]
    expect(codes).toEqual(['ok', 'BUSY', 'ok', 'ok', 'ok', 'BUSY', 'ok'])
    const closed = gate.sessions.get(new Uint8Array(16).fill(3))
    if (closed) gate.sessions.remove(closed)
    expect(gate.open(one, 7)).toBe('ok')
  })

  test('has training steps computed for those whose invite permits to tune', () => {
    const gate = new Gate()
    const all = { may: ['chat', 'serve', 'tune'] as const, models: ['another'] }
    const peers = [
      gate.peer(),
      gate.peer({ may: ['tune'] }),
      gate.peer({ may: ['chat', 'tune'] }),
      gate.peer({ may: ['chat', 'serve'] }),
      gate.peer(all),
      new Peer()
    ]
    const codes = peers.map((peer) => attempt(() => gate.gate.train(peer, 5)))
    expect(codes).toEqual(['ok', 'ok', 'ok', 'DENIED', 'DENIED', 'DENIED'])
  })

  test("counts training's tokens with those of chats", () => {
    const gate = new Gate()
    const team = issueInvite(swarm, { tokensPerDay: 10 })
    const [one, two] = [gate.peer(team), gate.peer(narrowInvite(team, { tokensPerDay: 7 }))]
    const train = (peer: Peer, tokens: number): string =>
      attempt(() => gate.gate.train(peer, tokens))
    gate.open(one, 1)
    // A question whether it may costs nothing, and what is refused does not either.
    expect([train(two, 0), train(two, 8), train(two, 6)]).toEqual(['ok', 'DENIED', 'ok'])
    expect([gate.step(1, 0, 5), gate.step(1, 1, 3)]).toEqual(['DENIED', 'ok'])
    expect([train(one, 2), train(one, 1), train(one, 0)]).toEqual(['DENIED', 'ok', 'DENIED'])
  })

  test("spends a day's tokens once for each step, together with all narrowed from the invite", async () => {
    const gate = new Gate()
    const team = issueInvite(swarm, { tokensPerDay: 10 })
    const [one, two] = [gate.peer(team), gate.peer(narrowInvite(team, { tokensPerDay: 4 }))]
    gate.open(one, 1)
    gate.open(two, 2)
    const codes = [
      gate.step(1, 0, 5),
      gate.step(1, 0, 5),
      gate.step(2, 0, 3),
      gate.step(2, 1, 2),
      gate.step(2, 1, 1),
      gate.step(1, 1, 2),
      gate.step(1, 1, 1)
    ]
    expect(codes).toEqual(['ok', 'ok', 'ok', 'DENIED', 'ok', 'DENIED', 'ok'])
    expect([gate.open(one, 3), gate.step(9, 0, 100)]).toEqual(['DENIED', 'ok'])
    await gate.clock.advance(86_400_000)
    expect([gate.step(1, 2, 10), gate.step(1, 3, 1)]).toEqual(['ok', 'DENIED'])
  })
})
