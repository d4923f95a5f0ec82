// Hostile servers beside honest ones: a session comes to its end with the right rows, and no honest
// server is avoided for what a hostile one says or sends. scripts/prove/fuzz-client.ts is the
// long version.
import { expect, test } from 'bun:test'
import { fuzzClient } from '../support/hostile/hostile-server.ts'

const SEEDS = 10

test(`a session of each of ${SEEDS} seeds gets its rows, whatever hostile servers say`, async () => {
  let mischiefs = 0
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { same, blamed, ...rest } = await fuzzClient(seed)
    expect({ seed, same, blamed }).toEqual({ seed, same: true, blamed: [] })
    mischiefs += rest.mischiefs
  }
  expect(mischiefs).toBeGreaterThan(4 * SEEDS)
}, 120_000)
