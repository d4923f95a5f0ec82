// One station of a session's route as the client keeps it, and the error that names one.
import { noRoute, type AppError } from '../base/errors.ts'
import type { WireDtype, WireTensor } from '../wire/types.ts'
import type { History } from './history.ts'
import type { ClientLink } from './links.ts'

export interface Hop {
  readonly link: ClientLink
  readonly first: number
  readonly last: number
  /** Everything this span was sent, so that another server can take it over. */
  readonly inputs: History
  /** Positions that the server's KV holds, as far as its answers tell. */
  kv: number
  /** Longest length the server has promised, in tokens. */
  promised: number
  /** The server cannot push to the next one: the client carries. */
  relay: boolean
}

/** A failure with the hop it happened at, or without one when a server refused to be opened. */
export class HopFailure extends Error {
  readonly peer: string
  readonly error: AppError

  constructor(peer: string, error: AppError, blocks?: { first: number; last: number }) {
    super(error.message, { cause: error })
    this.name = 'HopFailure'
    this.peer = peer
    this.error = blocks && isGone(error) ? unreachable(blocks, error) : error
  }
}

function isGone(error: AppError): boolean {
  return error.code === 'TIMEOUT' || error.code === 'DISCONNECTED'
}

/** A record whose server is gone is no server. */
function unreachable(blocks: { first: number; last: number }, cause: AppError): AppError {
  const { first, last } = blocks
  return noRoute(`No route through the model: no server of blocks ${first}:${last} answers`, {
    hint: `Start a server for them: petals join MODEL --blocks ${first}:${last}`,
    cause
  })
}

/** Whether every value is finite; garbage must not reach the next span's KV or the sampler. */
export function isFiniteTensor(tensor: WireTensor): boolean {
  const mask = EXPONENTS[tensor.dtype]
  if (mask === undefined) return true
  const { data } = tensor
  if (tensor.dtype === 'f32') {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
    for (let at = 0; at + 4 <= data.byteLength; at += 4) {
      if ((view.getUint32(at, true) & mask) >>> 0 === mask) return false
    }
    return true
  }
  for (let at = 0; at + 2 <= data.byteLength; at += 2) {
    if (((((data[at + 1] ?? 0) << 8) | (data[at] ?? 0)) & mask) === mask) return false
  }
  return true
}

// All exponent bits set means infinity or NaN. int8 is checked when it is decoded.
const EXPONENTS: Readonly<Record<WireDtype, number | undefined>> = {
  f32: 0x7f800000,
  f16: 0x7c00,
  bf16: 0x7f80,
  int8: undefined
}
