// Invites and members as text and JSON, without any secret.
import { toHex } from '../../base/bytes.ts'
import { whyBarred, type Capability } from '../../swarm/private/capability.ts'
import { ACTS, type Caveats } from '../../swarm/private/invite-codec.ts'
import { swarmIdOf } from '../../swarm/private/invite.ts'
import type { OwnSwarm } from '../../library/open/own-swarms.ts'

export type MemberState = 'valid' | 'expired' | 'revoked'

/** For --json. */
export function membersReport(swarm: OwnSwarm, now: number): object {
  const known = new Set(swarm.issued.map(({ id }) => id))
  return {
    swarm: swarm.name,
    invites: swarm.issued.map((invite) => ({
      id: invite.id,
      label: invite.label ?? null,
      state: stateOf(invite.id, invite, swarm, now),
      may: invite.may ?? ACTS,
      models: invite.models ?? null,
      tokensPerDay: invite.tokensPerDay ?? null,
      sessions: invite.sessions ?? null,
      issuedAt: new Date(invite.issuedAt).toISOString(),
      expiresAt: invite.expiresAt === undefined ? null : new Date(invite.expiresAt).toISOString()
    })),
    revokedElsewhere: swarm.revoked.filter((id) => !known.has(id))
  }
}

export function membersTable(swarm: OwnSwarm, now: number): string {
  const rows = [
    ['id', 'label', 'state', 'permits', 'expires'],
    ...swarm.issued.map((invite) => [
      invite.id.slice(0, 12),
      invite.label ?? '-',
      stateOf(invite.id, invite, swarm, now),
      permits(invite),
      day(invite.expiresAt)
    ])
  ]
  return `${swarm.name}, ${swarm.issued.length} invites\n${table(rows)}`
}

/** One swarm for --json. */
export function swarmReport(swarm: OwnSwarm, now: number): object {
  const states = swarm.issued.map((invite) => stateOf(invite.id, invite, swarm, now))
  const count = (state: MemberState): number => states.filter((one) => one === state).length
  return {
    swarm: swarm.name,
    id: toHex(swarmIdOf(swarm.invite)),
    invites: states.length,
    valid: count('valid'),
    expired: count('expired'),
    revoked: count('revoked')
  }
}

export function swarmsTable(swarms: readonly OwnSwarm[], now: number): string {
  if (swarms.length === 0)
    return 'No private swarm was made on this machine: petals swarm create NAME\n'
  const rows = swarms.map((swarm) => {
    const states = swarm.issued.map((invite) => stateOf(invite.id, invite, swarm, now))
    const valid = states.filter((state) => state === 'valid').length
    const id = toHex(swarmIdOf(swarm.invite)).slice(0, 12)
    return [swarm.name, id, String(states.length), String(valid)]
  })
  return table([['name', 'id', 'invites', 'valid'], ...rows])
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0))) ?? []
  const lines = rows.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  '))
  return lines.map((line) => `${line.trimEnd()}\n`).join('')
}

/** What the holder of an invite can see of it. */
export function showText(capability: Capability, now: number): string {
  const { ids, may, models, quotas, expiresAt, label } = capability
  const barred = whyBarred(capability, { now, revoked: new Set() })
  const lines = [
    ['id', ids.at(-1) ?? ''],
    ...(label === undefined ? [] : [['label', label]]),
    ['may', may.join(', ')],
    ...models.map((set) => ['models', [...set].join(', ')]),
    ...quotas.flatMap(({ tokensPerDay, sessions }) => [
      ...(tokensPerDay === undefined ? [] : [['tokens a day', String(tokensPerDay)]]),
      ...(sessions === undefined ? [] : [['sessions', String(sessions)]])
    ]),
    ['expires', expiresAt === Infinity ? 'never' : new Date(expiresAt).toISOString()],
    ['narrowed', `${ids.length - 1} times`],
    ['state', barred ?? 'valid, unless it was revoked']
  ]
  return lines.map(([key = '', value = '']) => `${key.padEnd(13)}${value}\n`).join('')
}

function stateOf(id: string, caveats: Caveats, swarm: OwnSwarm, now: number): MemberState {
  if (swarm.revoked.includes(id)) return 'revoked'
  return (caveats.expiresAt ?? Infinity) <= now ? 'expired' : 'valid'
}

function permits(caveats: Caveats): string {
  const { may, models, tokensPerDay, sessions } = caveats
  return [
    (may ?? ACTS).join('+'),
    ...(models ? [models.map((one) => one.slice(0, 20)).join(' ')] : []),
    ...(tokensPerDay === undefined ? [] : [`${tokensPerDay} tokens a day`]),
    ...(sessions === undefined ? [] : [`${sessions} sessions`])
  ].join(', ')
}

function day(time: number | undefined): string {
  return time === undefined ? 'never' : new Date(time).toISOString().slice(0, 16).replace('T', ' ')
}
