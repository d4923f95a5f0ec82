// How many rows of a prompt are sent in one step: a pure policy. Chunks flow down the chain, so
// with large chunks the later servers wait for the first one to arrive, and each chunk costs every
// server one pass over its weights.

/**
 * Most rows of a prompt's step: 128 rows use the engine's matrices fully and delay others' decode
 * steps little.
 */
const MOST_ROWS = 128
/** A frame is at most 8 MiB; with a quarter of that, several are under way at once. */
const CHUNK_BYTES = 2 * 1024 * 1024
/** Most steps under way: enough for every server of a chain to have one while others travel. */
const WINDOW = 16
const WINDOW_ROWS = 1024
/** Most bytes under way to one server. Its link ends at 32 MiB, and others use it too. */
const WINDOW_BYTES = 4 * 1024 * 1024

/**
 * Rows whose products take as long as a pass over the weights: 5 on one thread of an EPYC with
 * 4-bit weights, for 135M and 1.1B. Far more on a GPU, where a prompt is short work anyway.
 */
const ROWS_OF_A_PASS = 5
/** Smaller chunks do not fill matrices, and each has a cost in frames, queues and threads. */
const LEAST_ROWS = 32

/**
 * Rows per step that get `rows` rows through `servers` servers soonest, at most `most`. With chunks
 * of c rows the last server is done after (rows / c + servers - 1) chunks, each of which takes as
 * long as c + ROWS_OF_A_PASS rows.
 */
export function chunkRows(rows: number, servers: number, most: number): number {
  if (servers < 2) return most
  const best = Math.sqrt((ROWS_OF_A_PASS * rows) / (servers - 1))
  const chunks = Math.max(1, Math.round(rows / Math.max(best, LEAST_ROWS)))
  return Math.min(most, Math.ceil(rows / chunks))
}

/** How rows are sent through servers: most rows of a step, and most steps under way. */
export function planChunks(
  rows: number,
  servers: number,
  hiddenSize: number
): { readonly chunkRows: number; readonly window: number } {
  const rowBytes = hiddenSize * 4
  const most = Math.max(1, Math.min(MOST_ROWS, Math.floor(CHUNK_BYTES / rowBytes)))
  const count = chunkRows(rows, servers, most)
  const window = Math.min(WINDOW, WINDOW_ROWS / count, WINDOW_BYTES / (count * rowBytes))
  return { chunkRows: count, window: Math.max(2, Math.floor(window)) }
}
