// Blocks that this process computes itself, as the client sees them: servers that no network stands
// before. Made by src/here/local-blocks.ts.
import type { BlockSpan } from '../../base/block-span.ts'
import type { AppError } from '../../base/errors.ts'
import type { SpanInfo } from '../../blocks/types.ts'
import type { ServerInfo } from '../../wire/types.ts'
import type { ClientLink, SessionEvents } from './links.ts'

export interface LocalServers {
  /**
   * What is computed here now. Several keys stand for the same blocks, since a route has a server
   * once, and blocks computed here may stand before and behind those of others.
   */
  readonly infos: readonly ServerInfo[]
  /** Blocks that nobody else may be asked for. */
  readonly kept: BlockSpan | undefined
  /**
   * Loads what is computed here from the beginning. @throws AppError NO_MEMORY, or as loading fails
   */
  ready(): Promise<void>
  /**
   * Loads blocks that nobody serves, as far as they fit.
   * @returns why some were not loaded
   * @throws AppError CANCELLED
   */
  fillGaps(gaps: readonly BlockSpan[], signal?: AbortSignal): Promise<AppError | undefined>
  /** A link to what goes by this key here. */
  connect(peer: string): ClientLink | undefined
  /** The engine's span that goes by this key, for training. */
  spanOf?(peer: string): SpanInfo | undefined
  /** Delivers a session's messages until the returned function is called. */
  listen(session: Uint8Array, events: SessionEvents): () => void
}
