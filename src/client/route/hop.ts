// One station of a session's route as the client keeps it, and the error that names one.
import type { BlockSpan } from '../../base/block-span.ts'
import { noRoute, type AppError } from '../../base/errors.ts'
import { BLOCK, rowBytes } from '../../wire/tensor.ts'
import type { ServerInfo, WireTensor } from '../../wire/types.ts'
import type { History } from '../session/history.ts'
import type { ClientLink } from './links.ts'

export interface Hop extends BlockSpan {
  readonly link: ClientLink
  /** Everything this span was sent, so that another server can take it over. */
  readonly inputs: History
  /** Positions that the server's KV holds, as far as its answers tell. */
  kv: number
  /** What the server holds its weights in: it decides about the rows that it sends on. */
  readonly quant: string
  /** Positions whose names the server knows, for when the session ends. */
  named: number
  /** Longest length the server has promised, in tokens. */
  promised: number
  /** The server cannot push to the next one: the client carries. */
  relay: boolean
}

export interface FailureDetails {
  /** Of a server that was to be opened: one that is gone leaves a gap in the route. */
  blocks?: BlockSpan
  /** The server that says so of its successor: its word alone, which may be wrong. */
  teller?: string
  /** It lives, but does not finish what it was asked for. */
  hung?: boolean
}

/** What of a hop its server's own words are compared with. */
type Standing = Pick<Hop, 'link' | 'start' | 'end'>

/** Whether an info says that these blocks are served, if only for a while. */
export function covers(info: ServerInfo, hop: BlockSpan): boolean {
  return !info.next?.left && info.start <= hop.start && info.end >= hop.end
}

/** Whether the hop's server has not said that it stops serving these blocks. */
export function staysAt(hop: Standing): boolean {
  const { servers } = hop.link
  return servers === undefined || servers.some((info) => !info.draining && covers(info, hop))
}

/**
 * Whether the hop's server says that it is elsewhere by now: nothing is left of the session there.
 */
export function hasLeft(hop: Standing): boolean {
  const { servers = [] } = hop.link
  return servers.length > 0 && !servers.some((info) => covers(info, hop))
}

/** A failure with the server at which it happened. */
export class HopFailure extends Error {
  readonly peer: string
  readonly error: AppError
  readonly teller: string | undefined
  readonly hung: boolean
  /** Of other servers, at the same time. */
  also: readonly HopFailure[] = []

  constructor(peer: string, error: AppError, details: FailureDetails = {}) {
    super(error.message, { cause: error })
    const { blocks, teller, hung = false } = details
    this.name = 'HopFailure'
    this.peer = peer
    this.teller = teller
    this.hung = hung
    this.error = blocks && isGone(error) ? unreachable(blocks, error) : error
  }
}

function isGone(error: AppError): boolean {
  return error.code === 'TIMEOUT' || error.code === 'DISCONNECTED'
}

/** A record whose server is gone is no server. */
function unreachable(blocks: BlockSpan, cause: AppError): AppError {
  const { start, end } = blocks
  return noRoute(`No route through the model: no server of blocks ${start}:${end} answers`, {
    hint: `Start a server for them: petals join MODEL --blocks ${start}:${end}`,
    cause
  })
}

/**
 * Whether every value could have come out of a block. Others must reach neither the next span,
 * which would be blamed for what it makes of them, nor the sampler.
 */
export function isSoundTensor(tensor: WireTensor): boolean {
  const { dtype, rows, columns, data } = tensor
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  switch (dtype) {
    case 'f32':
      for (let at = 0; at + 4 <= data.byteLength; at += 4) {
        if ((view.getUint32(at, true) & 0x7f800000) >>> 0 >= MOST_EXPONENT) return false
      }
      return true
    case 'bf16':
      for (let at = 0; at + 2 <= data.byteLength; at += 2) {
        if ((view.getUint16(at, true) & 0x7f80) << 16 >= MOST_EXPONENT) return false
      }
      return true
    case 'f16':
      for (let at = 0; at + 2 <= data.byteLength; at += 2) {
        if ((view.getUint16(at, true) & 0x7c00) === 0x7c00) return false
      }
      return true
    case 'int8': {
      const size = rowBytes('int8', columns)
      const scales = Math.ceil(columns / BLOCK)
      for (let row = 0; row < rows; row++) {
        for (let i = 0; i < scales; i++) {
          const scale = view.getFloat32(row * size + 4 * i, true)
          if (!(scale >= 0 && scale < MOST_VALUE / 128)) return false
        }
      }
      return true
    }
    default:
      return false
  }
}

/** Larger ones, squared and summed by the norm of the next block, would overflow a float. */
const MOST_VALUE = 2 ** 53
const MOST_EXPONENT = (127 + 53) << 23
