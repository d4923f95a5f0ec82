// How many rows of a prompt go into one step: a pure policy. Chunks flow down the chain of servers,
// so with large ones the later servers wait for the first to come, and each costs every server a
// pass over its weights.

/** Of prompts: 128 rows fill the engine's matrices and delay a decode step of others little. */
const MOST_ROWS = 128
/** A frame is at most 8 MiB; a quarter of it keeps the chain of servers busy with several. */
const CHUNK_BYTES = 2 * 1024 * 1024
/** Steps under way: enough for every server of a chain to have one while others travel. */
const WINDOW = 16
const WINDOW_ROWS = 1024
/** What may be under way to one server; its link ends when 32 MiB wait, and others use it too. */
const WINDOW_BYTES = 4 * 1024 * 1024

/**
 * Rows whose products take as long as the pass: 5 on one thread of an EPYC with 4-bit weights, for
 * 135M and 1.1B. Far more on a GPU, where a prompt is short work anyway.
 */
const ROWS_OF_A_PASS = 5
/** Smaller ones leave matrices empty, and frames, queues and threads have their price too. */
const LEAST_ROWS = 32

/**
 * The rows of a step that bring `rows` through `servers` soonest, `most` at most. With chunks of c
 * rows the last server is done after (rows / c + servers - 1) chunks, each as long as c +
 * ROWS_OF_A_PASS rows.
 */
export function chunkRows(rows: number, servers: number, most: number): number {
  if (servers < 2) return most
  const best = Math.sqrt((ROWS_OF_A_PASS * rows) / (servers - 1))
  const chunks = Math.max(1, Math.round(rows / Math.max(best, LEAST_ROWS)))
  return Math.min(most, Math.ceil(rows / chunks))
}

/** How rows are sent through servers: rows of one step at most, and steps under way at most. */
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
