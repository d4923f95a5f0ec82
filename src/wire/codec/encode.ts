// How whole messages become bytes and back. Knows no particular message.
import { AppError, protocolError } from '../../base/errors.ts'
import { sizeOf, type Codec } from './fields.ts'

/** @throws AppError LIMIT for what no receiver would take */
export function encodeMessage<T>(codec: Codec<T>, message: T): Uint8Array {
  const size = sizeOf(codec, message)
  const buffer = new Uint8Array(size)
  codec.encode({ start: 0, end: size, buffer }, message)
  return buffer
}

/** Reads a message; its bytes and tensors are views into `bytes`. @throws AppError, nothing else */
export function decodeMessage<T>(codec: Codec<T>, bytes: Uint8Array): T {
  try {
    return codec.decode({ start: 0, end: bytes.byteLength, buffer: bytes })
  } catch (cause) {
    if (cause instanceof AppError) throw cause
    const why = cause instanceof Error ? cause.message : String(cause)
    throw protocolError(`The message is refused: ${why.toLowerCase()}`, { cause })
  }
}
