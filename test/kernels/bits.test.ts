// The promise: a row's bits depend on nothing but the row, what it sees, and the weights.
import { describe, expect, setDefaultTimeout, test } from 'bun:test'
import { join } from 'node:path'
import type { Kernels, Variant } from '../../src/kernels/kernels.ts'
import { variantsOf } from '../../src/kernels/libraries.ts'
import { loadKernels } from '../../src/kernels/load.ts'
import type { KvType, Program } from '../../src/kernels/program.ts'
import { Runner } from '../../src/kernels/run.ts'
import { threeBlocks } from './support/blocks.ts'
import { hashOf, Numbers, pages, runRows } from './support/world.ts'

// A machine that does other things at the same time must not fail these.
setDefaultTimeout(120_000)

/** Hashes of 300 rows through three blocks: a change of one is a change of ARITHMETIC. */
const PINNED: Readonly<Record<KvType, string>> = {
  f16: '857ef2e8e18a2b4',
  f32: '56c814e51855f84',
  int8: '3f5fa7b5332ea27d'
}

const ROWS = 300

function usable(): Map<Variant, Kernels> {
  const found = new Map<Variant, Kernels>()
  for (const variant of variantsOf(process.arch)) {
    try {
      const kernels = loadKernels({ variant })
      if (kernels.variant === variant) found.set(variant, kernels)
    } catch {
      // Not on this CPU.
    }
  }
  return found
}

const rowsOf = (program: Program): Float32Array => new Numbers(4).floats(ROWS * program.width)

for (const [variant, kernels] of usable()) {
  describe(variant, () => {
    for (const kv of ['f16', 'f32', 'int8'] as const) {
      test(`rows over ${kv} are the pinned ones, at once and row by row`, () => {
        const program = threeBlocks(kernels, { kv, maxRows: ROWS })
        using runner = new Runner(kernels, 1)
        const hashes = [ROWS, 1].map((cut) =>
          hashOf(runRows(runner, program, rowsOf(program), cut))
        )
        expect(hashes).toEqual([PINNED[kv], PINNED[kv]])
      })
    }

    test('two and five threads give the same, however rows are cut', () => {
      const program = threeBlocks(kernels)
      const hashes = new Set<string>()
      for (const threads of [2, 5]) {
        using runner = new Runner(kernels, threads)
        for (const cut of [1, 7, 33, 256]) {
          hashes.add(hashOf(runRows(runner, program, rowsOf(program), cut)))
        }
      }
      expect([...hashes]).toEqual([PINNED.f16])
    })

    test('spans behind each other give the same as one', () => {
      const program = threeBlocks(kernels, { maxRows: ROWS })
      using runner = new Runner(kernels, 2)
      const session = pages(program, ROWS)
      const hidden = rowsOf(program)
      const segments = [{ pages: session, kvBlock: 0, position: 0, rows: ROWS }]
      const ends = [0, 1, 3]
      for (const [at, first] of ends.slice(0, -1).entries()) {
        const end = ends[at + 1] ?? 0
        runner.run(program, { first, end, rows: ROWS, hidden, result: hidden, segments })
      }
      expect(hashOf(hidden)).toBe(PINNED.f16)
    })

    test('sessions of other lengths in the same runs change nothing', () => {
      const program = threeBlocks(kernels)
      using runner = new Runner(kernels, 2)
      const { width } = program
      const numbers = new Numbers(77)
      const hidden = rowsOf(program)
      const result = new Float32Array(hidden.length)
      const mine = pages(program, ROWS)
      const others = [1, 2, 3].map((pace) => ({ pace, at: 0, pages: pages(program, 3 * ROWS) }))
      for (let at = 0, step = 0; at < ROWS; step++) {
        const rows = Math.min(ROWS - at, 1 + (step % 20))
        const before = others.slice(0, step % 3)
        const behind = others.slice(step % 3)
        const segments = [
          ...before.map((one) => ({ ...one, kvBlock: 0, position: one.at, rows: one.pace })),
          { pages: mine, kvBlock: 0, position: at, rows },
          ...behind.map((one) => ({ ...one, kvBlock: 0, position: one.at, rows: one.pace }))
        ]
        const first = before.reduce((sum, { pace }) => sum + pace, 0)
        const all = segments.reduce((sum, segment) => sum + segment.rows, 0)
        const input = numbers.floats(all * width)
        input.set(hidden.subarray(at * width, (at + rows) * width), first * width)
        const output = new Float32Array(input.length)
        const run = { first: 0, end: 3, rows: all, hidden: input, result: output, segments }
        runner.run(program, run)
        result.set(output.subarray(first * width, (first + rows) * width), at * width)
        at += rows
        for (const one of others) one.at += one.pace
      }
      expect(hashOf(result)).toBe(PINNED.f16)
    })

    test('a fork that copied a page goes on as the session does', () => {
      const program = threeBlocks(kernels)
      using runner = new Runner(kernels, 1)
      const { width } = program
      const hidden = rowsOf(program)
      const session = pages(program, ROWS)
      const whole = runRows(runner, program, hidden, 64, session)
      const fork = pages(program, ROWS)
      // 100 positions: three whole pages are shared, of the fourth 4 positions are copied.
      fork.set(session.subarray(0, 3))
      const copy = { first: 0, end: 3, from: session[3] ?? 0n, to: fork[3] ?? 0n, positions: 4 }
      kernels.copyPage(program.address, copy)
      const result = new Float32Array((ROWS - 100) * width)
      runner.run(program, {
        first: 0,
        end: 3,
        rows: ROWS - 100,
        hidden: hidden.slice(100 * width),
        result,
        segments: [{ pages: fork, kvBlock: 0, position: 100, rows: ROWS - 100 }]
      })
      expect(hashOf(result)).toBe(hashOf(whole.slice(100 * width)))
    })
  })
}

test('PETALS_CPU names the kernels of a process', () => {
  const child = Bun.spawnSync([process.execPath, join(import.meta.dir, 'support', 'variant.ts')], {
    env: { ...process.env, PETALS_CPU: 'plain' },
    stdout: 'pipe'
  })
  expect(child.stdout.toString().trim()).toBe('plain')
})

test('PETALS_CPU that is no instruction set is refused', () => {
  const child = Bun.spawnSync([process.execPath, join(import.meta.dir, 'support', 'variant.ts')], {
    env: { ...process.env, PETALS_CPU: 'sse9' },
    stdout: 'pipe'
  })
  expect(child.stdout.toString().trim()).toBe(
    "BAD_INPUT PETALS_CPU cannot be 'sse9': Use one of plain, avx2, avx512, amx, neon, i8mm"
  )
})

test('kernels of another kind of CPU are refused by what can be used', () => {
  const other = process.arch === 'arm64' ? 'avx2' : 'neon'
  expect(() => loadKernels({ variant: other })).toThrow(
    expect.objectContaining({ code: 'UNSUPPORTED' })
  )
})

test('a library that is not there is told by its path', () => {
  expect(() => loadKernels({ folder: '/nonexistent' })).toThrow(
    expect.objectContaining({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('/nonexistent')
    })
  )
})
