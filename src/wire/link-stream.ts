// The part of an encrypted stream that a link uses (hyperdht's secret-stream has it), and a guard
// that checks raw frames before protomux sees them. Knows no messages.
import { overLimit, protocolError, type AppError } from '../base/errors.ts'
import { bytesIn, type Codec, type State } from './codec/fields.ts'
import { LIMITS } from './protocol.ts'

export interface LinkStream {
  readonly publicKey: Uint8Array
  readonly remotePublicKey: Uint8Array
  readonly handshakeHash: Uint8Array | null
  readonly isInitiator: boolean
  readonly destroyed: boolean
  /** The transport below; its address is unknown while connecting, and in tests. */
  readonly rawStream?: { readonly remoteHost: string | null } | null
  readonly keepAlive: number
  /** Bytes passed to the transport. */
  readonly rawBytesWritten: number
  /** Bytes received from the transport. */
  readonly rawBytesRead: number
  setKeepAlive(ms: number): void
  /** Destroys the stream when nothing is received for so long; 0: never. */
  setTimeout(ms: number): void
  pause(): unknown
  resume(): unknown
  end(): unknown
  destroy(error?: Error): unknown
  on(event: 'close' | 'drain' | 'handshake', listener: () => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'data', listener: (frame: Uint8Array) => void): unknown
  off(event: 'data', listener: (frame: Uint8Array) => void): unknown
  listeners(event: 'data'): ((frame: Uint8Array) => void)[]
}

/** Bytes that the stream adds to a frame: length, header and authentication. */
export const FRAME_OVERHEAD = 20

const CONTROL = 0
const CONTROL_BATCH = 0

/**
 * Puts a check before every frame listener that exists now (protomux's): a frame that breaks the
 * rules of the carrier is passed to `onfault` only.
 */
export function guardFrames(stream: LinkStream, onfault: (error: AppError) => void): void {
  const inner = stream.listeners('data')
  for (const listener of inner) stream.off('data', listener)
  let controls = 0
  let broken = false
  const fail = (error: AppError): void => {
    broken = true
    onfault(error)
  }
  stream.on('data', (frame) => {
    if (broken) return
    if (frame.byteLength > LIMITS.frameBytes) {
      return fail(overLimit(`The peer sent a frame of ${frame.byteLength} bytes`))
    }
    if (frame[0] === CONTROL) {
      if (frame[1] === CONTROL_BATCH) return fail(protocolError('The peer sent a batch'))
      if (++controls > LIMITS.controlFrames) {
        return fail(overLimit(`The peer sent more than ${LIMITS.controlFrames} control frames`))
      }
    }
    for (const listener of inner) listener(frame)
  })
}

/**
 * A codec for protomux that encodes in place and passes received bytes on undecoded, because
 * protomux would end the whole connection over one message that cannot be decoded.
 */
export function rawCodec<T>(
  codec: Codec<T>,
  onsize: (bytes: number) => void = () => {}
): {
  preencode(state: State, value: T): void
  encode(state: State, value: T): void
  decode(state: State): Uint8Array
} {
  return {
    preencode(state, value) {
      codec.preencode(state, value)
      onsize(state.end)
    },
    encode: (state, value) => codec.encode(state, value),
    decode(state) {
      const bytes = bytesIn(state).subarray(state.start, state.end)
      state.start = state.end
      return bytes
    }
  }
}
