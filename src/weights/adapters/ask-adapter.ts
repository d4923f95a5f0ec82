// Adapters from a peer: asked for by content id, each part checked by its hash. Knows no memory
// beyond one answer's.
import { protocolError } from '../../base/errors.ts'
import type { PeerLink } from '../../wire/link.ts'
import { LIMITS } from '../../wire/protocol.ts'
import type { WeightAsker } from '../weight-asker.ts'
import type { AdapterSource } from './adapter-pack.ts'

/** Most bytes of a manifest: hashes of all parts, and names of targets. */
const MANIFEST_BYTES = 32 * LIMITS.adapterParts + 4096

/** What a peer gives over a link. */
export function askingSource(asker: Pick<WeightAsker, 'ask'>, link: PeerLink): AdapterSource {
  return {
    manifest: (name, signal) =>
      asker.ask(link, { what: 'adapter', name }, { maxBytes: MANIFEST_BYTES, signal }),
    async part(name, { index, sizeBytes }, signal) {
      const question = { what: 'adapter-part', name, start: index, count: sizeBytes } as const
      const bytes = await asker.ask(link, question, { maxBytes: sizeBytes, signal })
      if (bytes.byteLength !== sizeBytes) {
        throw protocolError('The peer gives less of an adapter than belongs to it')
      }
      return bytes
    }
  }
}
