// Format of a file of converted weights: a head that says what they are, a table of names, the
// tensors. The digest finds damage by a disk or a bad copy; at 20 GB/s it is checked at every
// start. It is no protection against somebody who can write here: the cache is as private as the
// user's home. Knows no engine.
import { readSync, writeSync } from 'node:fs'
import { corrupt } from '../../base/errors.ts'

/** Raised by every change of this layout; what another number wrote is thrown away. */
export const CONVERTED_VERSION = 1
const MAGIC = Buffer.from('petalsWt', 'latin1')
const HEAD_BYTES = 64
export const KEY_BYTES = 32
/** A block of 512 experts has some 5,000 tensors with about 100 bytes of table each. */
const MAX_TABLE_BYTES = 2 ** 24
/** Tensors begin at a page, so that they can be mapped on their own. */
const PAGE_BYTES = 4096
const PIECE_BYTES = 2 ** 20

/** What a file's head claims. */
export interface ConvertedHead {
  /** (KEY_BYTES): what it was made from, and how. */
  readonly key: Uint8Array
  readonly table: Uint8Array
  readonly dataBytes: number
  readonly digest: bigint
}

/** Where the tensors begin. */
export function dataOffset(tableBytes: number): number {
  return Math.ceil((HEAD_BYTES + tableBytes) / PAGE_BYTES) * PAGE_BYTES
}

/** Head and table, with zeros up to the tensors. */
export function encodeHead(head: ConvertedHead): Uint8Array {
  const { key, table, dataBytes, digest } = head
  const bytes = new Uint8Array(dataOffset(table.byteLength))
  const view = new DataView(bytes.buffer)
  bytes.set(MAGIC)
  view.setUint32(8, CONVERTED_VERSION, true)
  view.setUint32(12, table.byteLength, true)
  view.setBigUint64(16, BigInt(dataBytes), true)
  view.setBigUint64(24, digest, true)
  bytes.set(key, 32)
  bytes.set(table, HEAD_BYTES)
  return bytes
}

/**
 * Reads the head of a file of `sizeBytes`.
 * @throws AppError CORRUPT if it is none or the size is wrong
 */
export function readHead(file: number, sizeBytes: number): ConvertedHead {
  const bad = (why: string): Error => corrupt(`Converted weights cannot be used: ${why}`)
  if (sizeBytes < PAGE_BYTES) throw bad(`the file has ${sizeBytes} bytes`)
  const head = readExactly(file, 0, HEAD_BYTES)
  if (!MAGIC.equals(head.subarray(0, MAGIC.length))) throw bad('they do not begin as such')
  const view = new DataView(head.buffer)
  const version = view.getUint32(8, true)
  if (version !== CONVERTED_VERSION) {
    throw bad(`their version is ${version}, not ${CONVERTED_VERSION}`)
  }
  const tableBytes = view.getUint32(12, true)
  if (tableBytes > MAX_TABLE_BYTES) throw bad(`their table claims ${tableBytes} bytes`)
  const dataBytes = view.getBigUint64(16, true)
  if (BigInt(sizeBytes - dataOffset(tableBytes)) !== dataBytes) {
    throw bad(`the file has ${sizeBytes} bytes and claims ${dataBytes} of weights`)
  }
  return {
    key: head.slice(32, HEAD_BYTES),
    table: readExactly(file, HEAD_BYTES, tableBytes),
    dataBytes: Number(dataBytes),
    digest: view.getBigUint64(24, true)
  }
}

/** Updates a digest with bytes of any length. */
export class Digest {
  #digest: bigint
  /** Created if bytes arrive in other lengths than a piece's. */
  #piece: Uint8Array | undefined
  #held = 0

  constructor(table: Uint8Array) {
    this.#digest = Bun.hash.xxHash3(table)
  }

  update(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength;) {
      if (this.#held === 0 && bytes.byteLength - at >= PIECE_BYTES) {
        this.#digest = Bun.hash.xxHash3(bytes.subarray(at, at + PIECE_BYTES), this.#digest)
        at += PIECE_BYTES
        continue
      }
      const length = Math.min(PIECE_BYTES - this.#held, bytes.byteLength - at)
      this.#piece ??= new Uint8Array(PIECE_BYTES)
      this.#piece.set(bytes.subarray(at, at + length), this.#held)
      this.#held += length
      at += length
      if (this.#held === PIECE_BYTES) this.#flush()
    }
  }

  end(): bigint {
    if (this.#held > 0) this.#flush()
    return this.#digest
  }

  #flush(): void {
    const piece = this.#piece?.subarray(0, this.#held) ?? new Uint8Array(0)
    this.#digest = Bun.hash.xxHash3(piece, this.#digest)
    this.#held = 0
  }
}

/** The digest of a file's tensors, piece by piece: yields how many bytes were read. */
export function* fileDigest(file: number, head: ConvertedHead): Generator<number, bigint> {
  const start = dataOffset(head.table.byteLength)
  const digest = new Digest(head.table)
  const piece = new Uint8Array(PIECE_BYTES)
  for (let at = 0; at < head.dataBytes;) {
    const length = Math.min(PIECE_BYTES, head.dataBytes - at)
    readInto(file, start + at, piece.subarray(0, length))
    digest.update(piece.subarray(0, length))
    at += length
    yield length
  }
  return digest.end()
}

function readExactly(file: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  readInto(file, offset, bytes)
  return bytes
}

function readInto(file: number, offset: number, bytes: Uint8Array): void {
  for (let filled = 0; filled < bytes.byteLength;) {
    const count = readSync(file, bytes, filled, bytes.byteLength - filled, offset + filled)
    if (count === 0) throw corrupt('Converted weights cannot be used: they are cut off')
    filled += count
  }
}

/** Writes all of `bytes` at `offset`. */
export function writeExactly(file: number, bytes: Uint8Array, offset: number): void {
  let done = 0
  while (done < bytes.byteLength) {
    done += writeSync(file, bytes, done, bytes.byteLength - done, offset + done)
  }
}
