// Joins received payloads into fewer, larger chunks along 3-byte little-endian length frames. It
// only withholds and joins, never changes bytes, and turns itself off for good when the bytes do
// not look like frames.

const LENGTH_BYTES = 3
const MAX_JOINED_BYTES = 65536

/** Collects payloads until a frame is whole or enough bytes are here. */
export class FrameJoiner {
  #emit: (data: Uint8Array) => void
  #parts: Uint8Array[] = []
  #bytes = 0
  /** Bytes of the current frame that are still to come; 0 between frames. */
  #missing = 0
  #off = false

  constructor(emit: (data: Uint8Array) => void) {
    this.#emit = emit
  }

  /** Bytes that are withheld. */
  get bytes(): number {
    return this.#bytes
  }

  push(payload: Uint8Array): void {
    if (this.#off) return this.#emit(payload)
    if (this.#missing === 0) {
      const start = payload.length < LENGTH_BYTES ? -1 : frameBytes(payload)
      if (start < payload.length) return this.#stop(payload)
      this.#missing = start
    } else if (payload.length > this.#missing) return this.#stop(payload)
    this.#parts.push(payload)
    this.#bytes += payload.length
    this.#missing -= payload.length
    if (this.#missing === 0 || this.#bytes >= MAX_JOINED_BYTES) this.flush()
  }

  /** Returns what is withheld, e.g. at the end of the stream. */
  flush(): void {
    if (this.#bytes === 0) return
    const [first] = this.#parts
    const joined = this.#parts.length === 1 && first ? first : Buffer.concat(this.#parts)
    this.#parts = []
    this.#bytes = 0
    this.#emit(joined)
  }

  clear(): void {
    this.#parts = []
    this.#bytes = 0
  }

  #stop(payload: Uint8Array): void {
    this.#off = true
    this.#parts.push(payload)
    this.#bytes += payload.length
    this.flush()
  }
}

function frameBytes(payload: Uint8Array): number {
  return LENGTH_BYTES + (payload[0]! | (payload[1]! << 8) | (payload[2]! << 16))
}
