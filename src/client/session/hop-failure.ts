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

/** A record whose server cannot be reached is no server; the cause says whether NAT or gone. */
function unreachable(blocks: BlockSpan, cause: AppError): AppError {
  const { start, end } = blocks
  return noRoute(`No route through the model: no server of blocks ${start}:${end} answers`, {
    hint: cause.hint ?? `Start a server for them: petals join MODEL --blocks ${start}:${end}`,
    cause
  })
}
