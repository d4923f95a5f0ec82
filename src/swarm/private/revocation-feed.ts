// Revoked invites through the DHT: the creator puts the signed list under the swarm's root key,
// sealed for members; members look for a newer one from time to time, and put back what the DHT
// forgot. Links carry it too (members.ts), so that one member who has it is enough. Knows no links.
//
//   record   a box: 0 | list, or 1 | hashes of boxes in the order of its parts, 32 bytes each
//
// The DHT's own signature of the record is the root key's, so nobody else can put another there,
// but whoever has read it can put the same again.
import type DHT from 'hyperdht'
import { crypto_generichash } from 'sodium-universal'
import { deadline, type Clock } from '../../base/clock.ts'
import { corrupt, toAppError, unavailable } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import { createIdentity } from '../identity.ts'
import type { SwarmKeys, SwarmRoot } from './invite.ts'
import { MAX_RECORD_BYTES } from '../record.ts'
import type { RevocationList } from './revocations.ts'
import { deriveKey, SEAL_BYTES, seal, unseal } from './seal.ts'

export interface RevocationFeedOptions {
  dht: DHT
  keys: SwarmKeys
  clock: Clock
  random: Random
  log: Log
  /** Takes a list that was found; it may be an old one, or forged. @throws AppError */
  onlist: (bytes: Uint8Array) => void
  /** Number of the newest list known. */
  seq: () => number
}

const PART_BYTES = MAX_RECORD_BYTES - SEAL_BYTES
const MAX_PARTS = 24
const EVERY_MS = 60_000
const GET_MS = 8_000
const PUT_MS = 8_000

/** What the DHT keeps of a list: a record, and the boxes that it names. */
interface Stored {
  readonly value: Uint8Array
  readonly parts: readonly Uint8Array[]
  readonly seq: number
  readonly signature: Uint8Array
}

/** Puts a list into the DHT. @throws AppError UNAVAILABLE, TIMEOUT */
export async function publishRevocations(
  dht: DHT,
  root: SwarmRoot,
  list: RevocationList,
  clock: Clock
): Promise<void> {
  const { value, parts } = pack(root.secret, list.bytes)
  const limit = { clock, what: 'Publishing the revoked invites' }
  for (const part of parts) await deadline(dht.immutablePut(Buffer.from(part)), PUT_MS, limit)
  const put = dht.mutablePut(createIdentity(root.seed), Buffer.from(value), { seq: list.seq })
  const { closestNodes } = await deadline(put, PUT_MS, limit)
  if (closestNodes.length === 0) throw unavailable('No DHT node took the list of revoked invites')
}

export class RevocationFeed {
  readonly #options: RevocationFeedOptions
  readonly #key: Uint8Array
  #stored: Stored | undefined
  #stopTimer: () => void = () => {}
  #stopped = false

  constructor(options: RevocationFeedOptions) {
    this.#options = options
    this.#key = boxKey(options.keys.secret)
  }

  /** Looks once, at most `ms`, then again and again. Never throws. */
  async start(ms: number): Promise<void> {
    const { clock, log } = this.#options
    const first = this.#look()
    await deadline(first, ms, { clock }).catch((error: unknown) =>
      log.debug(`no list of revoked invites was found: ${toAppError(error).message}`)
    )
    this.#lookLater()
  }

  stop(): void {
    this.#stopped = true
    this.#stopTimer()
  }

  #lookLater(): void {
    if (this.#stopped) return
    const { clock, random, log } = this.#options
    this.#stopTimer = clock.after(
      EVERY_MS * (0.8 + 0.4 * random.next()),
      () => {
        this.#look()
          .catch((error: unknown) => log.debug(`revoked invites: ${toAppError(error).message}`))
          .finally(() => this.#lookLater())
      },
      true
    )
  }

  async #look(): Promise<void> {
    const { dht, keys, clock, onlist, seq } = this.#options
    const limit = { clock, what: 'Looking for revoked invites' }
    const found = await deadline(dht.mutableGet(Buffer.from(keys.root)), GET_MS, limit)
    if (this.#stopped) return
    if (this.#stored && this.#stored.seq > (found?.seq ?? 0)) return this.#putBack(this.#stored)
    if (!found || found.seq <= (this.#stored?.seq ?? 0)) return
    const { value, signature } = found
    const { list, parts } = await this.#unpack(value)
    this.#stored = { value, parts, seq: found.seq, signature }
    if (found.seq > seq()) onlist(list)
  }

  async #putBack(stored: Stored): Promise<void> {
    const { dht, keys, clock, log } = this.#options
    const { value, parts, seq, signature } = stored
    log.debug('the DHT has forgotten the revoked invites: put back')
    const limit = { clock, what: 'Putting the revoked invites back' }
    for (const part of parts) await deadline(dht.immutablePut(Buffer.from(part)), PUT_MS, limit)
    const put = dht.mutablePut({ publicKey: keys.root, secretKey: NO_KEY }, Buffer.from(value), {
      seq,
      signMutable: () => signature
    })
    await deadline(put, PUT_MS, limit)
  }

  async #unpack(value: Uint8Array): Promise<{ list: Uint8Array; parts: readonly Uint8Array[] }> {
    const { dht, clock } = this.#options
    const inside = unseal(this.#key, value)
    if (inside?.[0] === INLINE) return { list: inside.subarray(1), parts: [] }
    const hashes = inside?.subarray(1)
    const count = (hashes?.byteLength ?? 0) / 32
    if (!hashes || inside?.[0] !== PARTED || !Number.isInteger(count) || count > MAX_PARTS) {
      throw corrupt('The record of revoked invites cannot be read')
    }
    const limit = { clock, what: 'Reading the revoked invites' }
    const parts: Uint8Array[] = []
    const plain: Uint8Array[] = []
    for (let i = 0; i < count; i++) {
      const hash = Buffer.from(hashes.subarray(32 * i, 32 * i + 32))
      const part = await deadline(dht.immutableGet(hash), GET_MS, limit)
      const opened = part && unseal(this.#key, part.value)
      if (!part || !opened) throw corrupt('A part of the revoked invites is missing')
      parts.push(part.value)
      plain.push(opened)
    }
    return { list: Buffer.concat(plain), parts }
  }
}

const INLINE = 0
const PARTED = 1
const NO_KEY = new Uint8Array(64)

function pack(
  secret: Uint8Array,
  list: Uint8Array
): { value: Uint8Array; parts: readonly Uint8Array[] } {
  const key = boxKey(secret)
  if (list.byteLength < PART_BYTES) {
    const inside = Buffer.concat([Uint8Array.of(INLINE), list])
    return { value: seal(key, inside, MAX_RECORD_BYTES), parts: [] }
  }
  const parts: Uint8Array[] = []
  for (let at = 0; at < list.byteLength; at += PART_BYTES) {
    parts.push(seal(key, list.subarray(at, at + PART_BYTES), MAX_RECORD_BYTES))
  }
  const hashes = parts.map((part) => hashOf(part))
  const inside = Buffer.concat([Uint8Array.of(PARTED), ...hashes])
  return { value: seal(key, inside, MAX_RECORD_BYTES), parts }
}

/** What the DHT names immutable bytes by. */
function hashOf(bytes: Uint8Array): Uint8Array {
  const hash = Buffer.alloc(32)
  crypto_generichash(hash, Buffer.from(bytes))
  return hash
}

function boxKey(secret: Uint8Array): Uint8Array {
  return deriveKey(secret, 'revocations')
}
