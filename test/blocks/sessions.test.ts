// Sessions of one span: taking back, growing, standing beside one another, being refused.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import type { AppError } from '../../src/base/errors.ts'
import { capacityFor } from '../../src/blocks/onnx/kv-cache.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { runPiece, testEngine, type TestEngine } from './support/engine-helpers.ts'
import { randomRows, writeRandomLlama } from './support/random-llama.ts'

// A machine that does other things at the same time must not fail these.
setDefaultTimeout(120_000)

const WIDTH = 64
/**
 * 32 positions of 5 blocks, 4 heads of keys and values: 16 (of which 8 are used) and 8 floats each.
 */
const PAGE_BYTES = 32 * 5 * 4 * (16 + 8) * 4
/** What the span's weights take. */
const WEIGHT_BYTES = 935_424
const whole = { location: storiesLocation, start: 0, end: 5, quant: 'f32' } as const

let shared: TestEngine
let span: number

beforeAll(async () => {
  shared = testEngine()
  ;({ span } = await shared.load(whole))
})
afterAll(() => shared[Symbol.dispose]())

const rows = (count: number, seed?: number): Float32Array => randomRows(count, WIDTH, seed)
const part = (values: Float32Array, start: number, end: number): Float32Array =>
  values.slice(start * WIDTH, end * WIDTH)

function refusal(run: () => unknown): { code: string; message: string } {
  try {
    run()
  } catch (error) {
    const { code, message } = error as AppError
    return { code, message }
  }
  throw new Error('Nothing was refused')
}

describe('a session', () => {
  test('taken back to a start is as if what came after had never been', () => {
    const { engine, step } = shared
    const [input, other] = [rows(60), rows(20, 8)]
    const fresh = engine.openSession(span)
    step(fresh, 0, part(input, 0, 30), WIDTH)
    const expected = step(fresh, 30, part(input, 30, 60), WIDTH)
    const session = engine.openSession(span)
    step(session, 0, part(input, 0, 30), WIDTH)
    step(session, 30, other.slice(), WIDTH)
    expect(step(session, 30, part(input, 30, 60), WIDTH)).toEqual(expected)
    // To the very beginning, too.
    step(session, 0, part(input, 0, 30), WIDTH)
    expect(step(session, 30, part(input, 30, 60), WIDTH)).toEqual(expected)
  })

  test('forked goes on with the same bits as one that ran all of it, and so does the other', () => {
    const { engine, step } = shared
    const [input, other] = [rows(300), rows(20, 8)]
    const expected = [input, other].map((behind) => {
      const session = engine.openSession(span)
      step(session, 0, part(input, 0, 270), WIDTH)
      return step(
        session,
        270,
        part(behind, behind === input ? 270 : 0, behind === input ? 300 : 20),
        WIDTH
      )
    })
    const session = engine.openSession(span)
    step(session, 0, part(input, 0, 280), WIDTH)
    const fork = engine.forkSession(session, 270)
    const before = engine.stats()
    const answers = [
      step(session, 270, part(input, 270, 300), WIDTH),
      step(fork, 270, other.slice(), WIDTH)
    ]
    expect(answers).toEqual(expected)
    engine.closeSession(session)
    engine.closeSession(fork)
    expect(engine.stats().sessions).toBe(before.sessions - 2)
    expect(engine.stats().kvBytes).toBeLessThan(before.kvBytes)
  })

  test('forked shares pages: one alone is copied, the one that is written next', () => {
    const { engine, step } = shared
    const pages = (): number => engine.stats().kvBytes / PAGE_BYTES
    const before = pages()
    const session = engine.openSession(span)
    step(session, 0, rows(270), WIDTH)
    const forks = [270, 256, 100].map((length) => engine.forkSession(session, length))
    expect(pages() - before).toBe(9)
    // At 270 the ninth page is shared and copied; at 256 a ninth is new; of the last, the fourth.
    const more = forks.map((fork, i) => {
      const has = pages()
      step(fork, [270, 256, 100][i] ?? 0, rows(2, 5), WIDTH)
      return pages() - has
    })
    expect(more).toEqual([1, 1, 1])
    // Nobody else holds the pages that these forks have made, and the session's are still shared.
    engine.closeSession(session)
    expect(pages() - before).toBe(9 + 3 - 1)
    for (const fork of forks) engine.closeSession(fork)
    expect(pages()).toBe(before)
  })

  test('cannot be forked beyond its length, and a fork that fails leaves nothing', () => {
    const { engine, step } = shared
    const session = engine.openSession(span)
    step(session, 0, rows(10), WIDTH)
    const { sessions, kvBytes } = engine.stats()
    expect(refusal(() => engine.forkSession(session, 11)).code).toBe('BAD_INPUT')
    expect(refusal(() => engine.forkSession(99_999, 1)).code).toBe('NOT_FOUND')
    expect([engine.stats().sessions, engine.stats().kvBytes]).toEqual([sessions, kvBytes])
  })

  test('is not disturbed by another between its steps', () => {
    const { engine, step } = shared
    const inputs = [rows(24, 1), rows(24, 2)]
    const alone = inputs.map((input) => shared.feed(span, input, WIDTH, 3))
    const sessions = inputs.map(() => engine.openSession(span))
    const mixed: Float32Array[] = inputs.map(() => new Float32Array(24 * WIDTH))
    for (let at = 0; at < 24; at += 3) {
      for (const [i, session] of sessions.entries()) {
        mixed[i]!.set(step(session, at, part(inputs[i]!, at, at + 3), WIDTH), at * WIDTH)
      }
    }
    expect(mixed).toEqual(alone)
  })

  test('grows over steps with the same bits as one that had the room at once', () => {
    const { engine, step } = shared
    const input = rows(500)
    const roomy = engine.openSession(span)
    const whole = step(roomy, 0, input.slice(), WIDTH)
    const growing = engine.openSession(span)
    const grown: Float32Array = new Float32Array(input.length)
    const sizes: number[] = []
    for (let at = 0; at < 500; at += 100) {
      grown.set(step(growing, at, part(input, at, at + 100), WIDTH), at * WIDTH)
      sizes.push(engine.stats().kvBytes)
    }
    expect(grown).toEqual(whole)
    // From 4 pages to 16.
    expect(sizes.at(-1)! - sizes[0]!).toBe(12 * PAGE_BYTES)
  })

  test('refuses a start past its length, wrong shapes and more tokens than the model has', () => {
    const { engine, step } = shared
    const session = engine.openSession(span)
    step(session, 0, rows(4), WIDTH)
    const send = (start: number, count: number, values: number): string =>
      refusal(() =>
        runPiece(engine, { session, start, end: start + count, hidden: new Float32Array(values) })
      ).code
    expect([
      send(5, 1, WIDTH),
      send(-1, 1, WIDTH),
      send(0.5, 1, WIDTH),
      send(0, 0, 0),
      send(0, 1, 2 * WIDTH),
      send(0, 2.5, 2.5 * WIDTH),
      send(0, Number.NaN, WIDTH),
      send(0, 513, 513 * WIDTH)
    ]).toEqual([...Array.from({ length: 7 }, () => 'BAD_INPUT'), 'LIMIT'])
    // None of it has changed what the session holds.
    step(session, 4, rows(1), WIDTH)
  })

  test('that computes no numbers fails by itself and can go on from its start', () => {
    const { engine, step } = shared
    const input = rows(10)
    const healthy = engine.openSession(span)
    const expected = step(healthy, 0, input.slice(), WIDTH)
    const session = engine.openSession(span)
    step(session, 0, part(input, 0, 5), WIDTH)
    const broken = new Float32Array(5 * WIDTH).fill(Number.NaN)
    expect(refusal(() => step(session, 5, broken, WIDTH)).code).toBe('COMPUTE')
    expect(refusal(() => step(session, 6, rows(1), WIDTH)).code).toBe('BAD_INPUT')
    expect(step(session, 5, part(input, 5, 10), WIDTH)).toEqual(part(expected, 5, 10))
    expect(step(healthy, 9, part(input, 9, 10), WIDTH).length).toBe(WIDTH)
  })

  test('that is not there is NOT_FOUND, as are spans and heads', () => {
    const { engine } = shared
    const codes = [
      () => engine.openSession(99_999),
      () => engine.closeSession(99_999),
      () => engine.unloadSpan(99_999),
      () => engine.unloadHead(99_999),
      () => runPiece(engine, { session: 99_999, start: 0, end: 1, hidden: rows(1) })
    ].map((run) => refusal(run).code)
    expect(codes).toEqual(codes.map(() => 'NOT_FOUND'))
  })

  test('outside of its span is refused', () => {
    const { engine } = shared
    for (const [start, end] of [
      [0, 6],
      [-1, 2],
      [3, 3],
      [4, 2],
      [0.5, 2]
    ] as const) {
      expect(refusal(() => engine.openSession(span, { start, end })).code).toBe('BAD_INPUT')
    }
  })
})

describe('memory', () => {
  test('for weights is refused with numbers before any is taken', async () => {
    using small = testEngine({ memoryBytes: 100_000 })
    const error = (await small.load(whole).catch((thrown: unknown) => thrown)) as AppError
    expect({ code: error.code, message: error.message }).toEqual({
      code: 'NO_MEMORY',
      message:
        'Weights of blocks 0 to 5 cannot be held: 913.5 KiB are needed, 97.7 KiB of 97.7 KiB are free'
    })
    expect(small.engine.stats().freeBytes).toBe(100_000)
  })

  test('for tokens is refused with numbers, and the session keeps what it has', async () => {
    using small = testEngine({ memoryBytes: WEIGHT_BYTES + 5 * PAGE_BYTES + 1000 })
    const { span: loaded } = await small.load(whole)
    const session = small.engine.openSession(loaded)
    const input = rows(300)
    const expected = small.step(session, 0, part(input, 0, 100), WIDTH)
    const error = refusal(() => small.step(session, 100, part(input, 100, 300), WIDTH))
    expect(error).toEqual({
      code: 'NO_MEMORY',
      message:
        "A page of a session's keys and values cannot be held: " +
        '60.0 KiB are needed, 1000 B of 1.2 MiB are free'
    })
    expect(small.step(session, 0, part(input, 0, 100), WIDTH)).toEqual(expected)
    small.step(session, 100, part(input, 100, 160), WIDTH)
    const other = small.engine.openSession(loaded)
    expect(refusal(() => small.step(other, 0, rows(1), WIDTH)).code).toBe('NO_MEMORY')
    small.engine.closeSession(session)
    small.step(other, 0, rows(1), WIDTH)
  })

  test('is given back by closing and unloading', async () => {
    using test = testEngine({ memoryBytes: 10_000_000 })
    const { span: loaded } = await test.load(whole)
    const head = await test.engine.loadHead(storiesLocation, 'native')
    const session = test.engine.openSession(loaded)
    test.step(session, 0, rows(300), WIDTH)
    const during = test.engine.stats()
    expect(during.kvBytes).toBe(10 * PAGE_BYTES)
    test.engine.unloadSpan(loaded)
    expect(refusal(() => test.engine.closeSession(session)).code).toBe('NOT_FOUND')
    test.engine.unloadHead(head)
    expect(test.engine.stats()).toEqual({
      weightBytes: 0,
      kvBytes: 0,
      sessions: 0,
      freeBytes: 10_000_000
    })
  })

  test('does not leak over many spans and sessions', async () => {
    await using folder = await tempFolder()
    const shape = { hidden: 64, blocks: 4, heads: 4, kvHeads: 4, headDim: 64, ffn: 64 }
    const location = await writeRandomLlama(folder, { ...shape, type: 'Q4_1' })
    using test = testEngine()
    const round = async (sessions: number): Promise<void> => {
      const { span: loaded } = await test.load({ location, start: 0, end: 4, quant: 'native' })
      for (let i = 0; i < sessions; i++) {
        const session = test.engine.openSession(loaded)
        // 1024 tokens of 8 KiB: 8 MiB each.
        test.step(session, 0, rows(600), WIDTH)
        test.engine.closeSession(session)
      }
      test.engine.unloadSpan(loaded)
      Bun.gc(true)
    }
    await round(10)
    const before = process.memoryUsage.rss()
    for (let i = 0; i < 10; i++) await round(3)
    // 30 caches are 240 MiB, were they kept.
    expect(process.memoryUsage.rss() - before).toBeLessThan(60 * 2 ** 20)
  }, 300_000)
})

test('room for tokens doubles while small, grows by steps when large, and ends with the model', () => {
  expect([
    capacityFor(1, 0, 8192),
    capacityFor(257, 256, 8192),
    capacityFor(2000, 512, 8192),
    capacityFor(4097, 4096, 100_000),
    capacityFor(8193, 8192, 100_000),
    capacityFor(500, 256, 512),
    capacityFor(300, 0, 300)
  ]).toEqual([256, 512, 2048, 8192, 12_288, 512, 300])
})
