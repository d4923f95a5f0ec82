// Errors as OpenAI's clients read them: `{ error: { message, type, code, param } }` and a status.
import { toAppError, type AppError, type ErrorCode } from '../../base/errors.ts'

/** A field of a request that cannot be used. */
export class RequestError extends Error {
  readonly status: number
  readonly code: string
  readonly param: string | null
  /** What clients are told beside the usual fields. */
  readonly details: Readonly<Record<string, number>>

  constructor(
    message: string,
    options: {
      status?: number
      code?: string
      param?: string
      details?: Readonly<Record<string, number>>
    } = {}
  ) {
    super(message)
    this.name = 'RequestError'
    this.status = options.status ?? 400
    this.code = options.code ?? 'invalid_value'
    this.param = options.param ?? null
    this.details = options.details ?? {}
  }
}

export interface ErrorBody {
  readonly error: {
    readonly message: string
    readonly type: string
    readonly code: string
    readonly param: string | null
  }
}

const STATUS: Readonly<Partial<Record<ErrorCode, number>>> = {
  BAD_INPUT: 400,
  LIMIT: 400,
  UNSUPPORTED: 400,
  NOT_FOUND: 404,
  DENIED: 403,
  BUSY: 503,
  NO_ROUTE: 503,
  NO_MEMORY: 503,
  UNAVAILABLE: 503,
  DISCONNECTED: 503,
  CLOSED: 503,
  TIMEOUT: 504,
  // As nginx has it; the client has left and does not read it.
  CANCELLED: 499
}

/**
 * The status and body of a failure, and after how long it may be tried again, where it is known.
 */
export function errorAnswer(thrown: unknown): {
  status: number
  body: ErrorBody
  retryAfterMs?: number | undefined
} {
  if (thrown instanceof RequestError) {
    const { message, status, code, param, details } = thrown
    return { status, body: { error: { message, type: typeOf(status), code, param, ...details } } }
  }
  const error = toAppError(thrown)
  // A server's limit that others use up now, and no limit of the request.
  const isFull = error.code === 'LIMIT' && error.retryable
  const status = isFull ? 503 : (STATUS[error.code] ?? 500)
  const code = error.code.toLowerCase()
  return {
    status,
    retryAfterMs: error.retryAfterMs,
    body: { error: { message: told(error), type: typeOf(status), code, param: null } }
  }
}

/** Hints are for whoever started the server: they name its commands, and are logged. */
function told({ message, advice }: AppError): string {
  return advice === undefined ? message : `${message}. ${advice}`
}

function typeOf(status: number): string {
  switch (status) {
    case 401:
      return 'authentication_error'
    case 403:
      return 'permission_error'
    case 404:
      return 'not_found_error'
    default:
      return status < 500 ? 'invalid_request_error' : 'server_error'
  }
}
