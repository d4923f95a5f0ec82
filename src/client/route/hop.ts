// The client's record of one server's part of a route, and what that server says of itself.
import type { BlockSpan } from '../../base/block-span.ts'
import type { ServerInfo } from '../../wire/types.ts'
import type { History } from '../session/history.ts'
import type { ClientLink } from './links.ts'

export interface Hop extends BlockSpan {
  readonly link: ClientLink
  /** Everything this span was sent, so that another server can take it over. */
  readonly inputs: History
  /** How the server rounds, which affects the rows that it sends on. See roundingOf(). */
  readonly rounding: string
  /** Positions that the server's KV holds, as far as its answers tell. */
  kv: number
  /** Positions up to which the server knows names of prefixes, for when the session ends. */
  named: number
  /** The longest length that the server has promised, in tokens. */
  promised: number
  /** The server cannot push to the next one, so the client carries rows between them. */
  relay: boolean
}

/** The part of a hop that is compared with its server's own description. */
type Placed = Pick<Hop, 'link' | 'start' | 'end'>

/** Whether a description says that these blocks are served, even if only for a while. */
export function covers(info: ServerInfo, hop: BlockSpan): boolean {
  return !info.next?.left && info.start <= hop.start && info.end >= hop.end
}

/** False if the hop's server has said that it will stop serving these blocks. */
export function staysAt(hop: Placed): boolean {
  const { servers } = hop.link
  return servers === undefined || servers.some((info) => !info.draining && covers(info, hop))
}

/** Whether the hop's server says that it serves other blocks by now: its session is gone. */
export function hasLeft(hop: Placed): boolean {
  const { servers = [] } = hop.link
  return servers.length > 0 && !servers.some((info) => covers(info, hop))
}

/** What determines how a server's rows are rounded: the form of its weights and its arithmetic. */
export function roundingOf({
  quant,
  arithmetic
}: Pick<ServerInfo, 'quant' | 'arithmetic'>): string {
  return arithmetic === undefined ? quant : `${quant} ${arithmetic}`
}
