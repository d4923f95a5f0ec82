// A failure together with the server that failed, and error messages for servers that are not
// there.
import type { BlockSpan } from '../../base/block-span.ts'
import { noRoute, type AppError } from '../../base/errors.ts'

export interface FailureDetails {
  /** Blocks that the server was to take, if it was being opened: without it the route has a gap. */
  blocks?: BlockSpan
  /** The server that reported the failure of the next one. It may be wrong. */
  teller?: string
  /** It is alive but does not finish what it was asked. */
  hung?: boolean
}

export class HopFailure extends Error {
  readonly peer: string
  readonly error: AppError
  readonly teller: string | undefined
  readonly hung: boolean
  /** Failures of other servers at the same time. */
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

/** Distinguishes a server that is gone from one that a NAT or the network hides. */
function unreachable({ start, end }: BlockSpan, cause: AppError): AppError {
  const what = `no server of blocks ${start}:${end} can be reached (${cause.message})`
  const another = `start another: petals join MODEL --blocks ${start}:${end}`
  const silent = `It said lately that it is there: the network may be slow or block UDP; or ${another}`
  const gone = another.charAt(0).toUpperCase() + another.slice(1)
  const hint = cause.hint ?? (cause.code === 'TIMEOUT' ? silent : gone)
  return noRoute(`No route through the model: ${what}`, { hint, cause })
}
