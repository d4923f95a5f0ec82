// How many rows of a prompt go into one step: a pure policy. Chunks flow down the chain of servers,
// so with large ones the later servers wait for the first to come, and each costs every server a
// pass over its weights.

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
