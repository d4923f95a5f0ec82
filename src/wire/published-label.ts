// The name under which a server keeps what a peer publishes: it follows from the peer's key, so
// nobody else can put anything under it. Knows no server.
import { crypto_generichash } from 'sodium-universal'

const LABEL_BYTES = 16

/** @param maker public key, 32 bytes; @param label 16 bytes */
export function publishedLabel(maker: Uint8Array, label: Uint8Array): Uint8Array {
  const hash = Buffer.alloc(32)
  crypto_generichash(hash, Buffer.from(label), Buffer.from(maker))
  return new Uint8Array(hash.subarray(0, LABEL_BYTES))
}
