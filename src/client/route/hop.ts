// One server's part of a session's route as the client keeps it, and what its server says of it.
import type { BlockSpan } from '../../base/block-span.ts'
import type { ServerInfo } from '../../wire/types.ts'
import type { History } from '../session/history.ts'
import type { ClientLink } from './links.ts'

export interface Hop extends BlockSpan {
  readonly link: ClientLink
  /** Everything this span was sent, so that another server can take it over. */
  readonly inputs: History
  /** How the server rounds: it decides about the rows that it sends on. See roundingOf(). */
  readonly rounding: string
  /** Positions that the server's KV holds, as far as its answers tell. */
  kv: number
  /** Positions whose names the server knows, for when the session ends. */
  named: number
  /** Longest length the server has promised, in tokens. */
  promised: number
  /** The server cannot push to the next one: the client carries. */
  relay: boolean
}

/** What of a hop its server's own words are compared with. */
type Placed = Pick<Hop, 'link' | 'start' | 'end'>

/** Whether an info says that these blocks are served, if only for a while. */
export function covers(info: ServerInfo, hop: BlockSpan): boolean {
  return !info.next?.left && info.start <= hop.start && info.end >= hop.end
}

/** Whether the hop's server has not said that it stops serving these blocks. */
export function staysAt(hop: Placed): boolean {
  const { servers } = hop.link
  return servers === undefined || servers.some((info) => !info.draining && covers(info, hop))
}

/**
 * Whether the hop's server says that it is elsewhere by now: nothing is left of the session there.
 */
export function hasLeft(hop: Placed): boolean {
  const { servers = [] } = hop.link
  return servers.length > 0 && !servers.some((info) => covers(info, hop))
}

/** What decides how a server's rows are rounded: its weights' form and its arithmetic. */
export function roundingOf({
  quant,
  arithmetic
}: Pick<ServerInfo, 'quant' | 'arithmetic'>): string {
  return arithmetic === undefined ? quant : `${quant} ${arithmetic}`
}
