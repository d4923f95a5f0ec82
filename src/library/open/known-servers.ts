// Servers that this user's chats used recently, so that the next chat meets those that may have
// kept its prefix. A file in the cache folder; without it a chat only starts slower.
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { toHex } from '../../base/bytes.ts'
import { systemClock } from '../../base/clock.ts'
import { toAppError } from '../../base/errors.ts'
import { replaceFile } from '../../base/files/replace-file.ts'
import type { Surroundings } from '../surroundings.ts'

/** A server of a model, and the round trip to it. */
export interface KnownServer {
  /** Its key in hex. */
  readonly peer: string
  /** Content id of the model, hex. */
  readonly model: string
  readonly rttMs: number
  /** Wall clock, ms. */
  readonly usedAt: number
}

/** Enough for routes of several models. */
const MOST = 64
/** As long as servers keep a prefix that nobody uses. */
const MAX_AGE_MS = 60 * 60_000
/** Nobody would use a server this far away again. */
const MOST_RTT_MS = 10_000

/** The servers of one model's route. */
export interface UsedServers {
  /** Content id of the model, hex. */
  readonly model: string
  /** Round trips by server, ms. */
  readonly rttMs: ReadonlyMap<string, number>
}

/** The most recent first. */
export function mergeServers(
  known: readonly KnownServer[],
  used: UsedServers,
  now: number
): KnownServer[] {
  const { model } = used
  const fresh = [...used.rttMs].map(([peer, rttMs]) => ({ peer, model, rttMs, usedAt: now }))
  const rest = known.filter((one) => {
    const isUsed = one.model === model && used.rttMs.has(one.peer)
    return !isUsed && now - one.usedAt < MAX_AGE_MS
  })
  return [...fresh, ...rest].slice(0, MOST)
}

export function formatServers(servers: readonly KnownServer[]): string {
  return servers
    .map(({ peer, model, rttMs, usedAt }) => `${peer} ${model} ${rttMs.toFixed(1)} ${usedAt}\n`)
    .join('')
}

/** Skips lines that cannot be read and old ones. */
export function parseServers(text: string, now: number): KnownServer[] {
  return text
    .split('\n', MOST)
    .map((line) => /^([0-9a-f]{64}) ([0-9a-f]{64}) (\d{1,5}\.\d) (\d{1,15})$/.exec(line))
    .flatMap((match) => {
      const [, peer = '', model = '', rtt, usedAt] = match ?? []
      const server = { peer, model, rttMs: Number(rtt), usedAt: Number(usedAt) }
      const isGood = server.rttMs <= MOST_RTT_MS && now - server.usedAt < MAX_AGE_MS
      return match && isGood ? server : []
    })
}

/** Round trips to a model's servers, ms; the most recently used first. */
export async function loadServers(
  context: Surroundings,
  model: Uint8Array
): Promise<ReadonlyMap<string, number>> {
  const known = (await read(context)).filter((one) => one.model === toHex(model))
  return new Map(known.map(({ peer, rttMs }) => [peer, rttMs]))
}

/** Remembers the servers of a route. It is no error if the folder cannot be written. */
export async function saveServers(
  context: Surroundings,
  model: Uint8Array,
  rttMs: ReadonlyMap<string, number>
): Promise<void> {
  if (rttMs.size === 0) return
  const path = pathOf(context)
  try {
    const used = { model: toHex(model), rttMs }
    const known = mergeServers(await read(context), used, systemClock.wall())
    await mkdir(context.paths.cache, { recursive: true })
    await replaceFile(path, formatServers(known))
  } catch (error) {
    context.log.debug(`the servers used are not remembered: ${toAppError(error).message}`)
  }
}

async function read(context: Surroundings): Promise<KnownServer[]> {
  const text = await readFile(pathOf(context), 'utf8').catch(() => '')
  return parseServers(text, systemClock.wall())
}

function pathOf(context: Surroundings): string {
  return join(context.paths.cache, 'servers')
}
