// A failure with the server at which it happened, and what is said of a server that is not there.
import type { BlockSpan } from '../../base/block-span.ts'
import { noRoute, type AppError } from '../../base/errors.ts'

export interface FailureDetails {
  /** Of a server that was to be opened: one that is gone leaves a gap in the route. */
  blocks?: BlockSpan
  /** The server that says so of its successor: its word alone, which may be wrong. */
  teller?: string
  /** It lives, but does not finish what it was asked for. */
  hung?: boolean
}

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

/** Says whether a server is gone, or is there and a NAT or the network stands between. */
function unreachable({ start, end }: BlockSpan, cause: AppError): AppError {
  const what = `no server of blocks ${start}:${end} can be reached (${cause.message})`
  const another = `start another: petals join MODEL --blocks ${start}:${end}`
  const silent = `It said lately that it is there: the network may be slow or block UDP; or ${another}`
  const gone = another.charAt(0).toUpperCase() + another.slice(1)
  const hint = cause.hint ?? (cause.code === 'TIMEOUT' ? silent : gone)
  return noRoute(`No route through the model: ${what}`, { hint, cause })
}
