// A first-in first-out queue of written buffers from which packets are filled. A buffer is held
// until its last byte was copied into a packet. Knows nothing about packets.

/** Up to this many consumed buffers at the head it is not worth moving the array. */
const COMPACT_AT = 64

/** Bytes that were written and are not yet in a packet. */
export class ByteQueue {
  length = 0
  #chunks: Uint8Array[] = []
  #head = 0
  #offset = 0

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return
    this.#chunks.push(chunk)
    this.length += chunk.length
  }

  /** Moves exactly `count` bytes into `target` at `at`; the caller knows that they are there. */
  copyTo(target: Uint8Array, at: number, count: number): void {
    this.length -= count
    let left = count
    let to = at
    while (left > 0) {
      const chunk = this.#chunks[this.#head]
      if (chunk === undefined) throw new RangeError('Byte queue is shorter than its length')
      const n = Math.min(left, chunk.length - this.#offset)
      target.set(chunk.subarray(this.#offset, this.#offset + n), to)
      to += n
      left -= n
      this.#offset += n
      if (this.#offset === chunk.length) this.#next()
    }
  }

  clear(): void {
    this.#chunks = []
    this.#head = 0
    this.#offset = 0
    this.length = 0
  }

  #next(): void {
    this.#head++
    this.#offset = 0
    if (this.#head === this.#chunks.length) {
      this.#chunks = []
      this.#head = 0
    } else if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#chunks.length) {
      this.#chunks = this.#chunks.slice(this.#head)
      this.#head = 0
    }
  }
}
