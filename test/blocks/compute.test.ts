// The worker seen from the main thread: turns, cancelling, closing, failing.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import type { AppError } from '../../src/base/errors.ts'
import { Compute } from '../../src/blocks/compute.ts'
import type { SpanInfo } from '../../src/blocks/types.ts'
import { loadKernels } from '../../src/kernels/load.ts'
import { listConverted } from '../../src/model/store/converted-cache.ts'
import type { ModelLocation } from '../../src/model/types.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { tempFolder, type TempFolder } from '../support/temp-folder.ts'
import { randomRows, writeRandomLlama } from './support/random-llama.ts'

// A machine that does other things at the same time must not fail these.
setDefaultTimeout(120_000)

const shape = {
  hidden: 512,
  blocks: 6,
  heads: 8,
  kvHeads: 4,
  headDim: 64,
  ffn: 2048,
  context: 2048
}
const WIDTH = shape.hidden
/** Rows that take the engine long enough to be stopped in between; plain C is 20 times slower. */
const LONG = loadKernels().variant === 'plain' ? 300 : 2000

let folder: TempFolder
let compute: Compute
let info: SpanInfo
let location: ModelLocation

beforeAll(async () => {
  folder = await tempFolder()
  location = await writeRandomLlama(folder, { ...shape, type: 'Q4_0' })
  compute = new Compute({ threads: 2 })
  info = await compute.loadSpan({ location, start: 0, end: 6, quant: 'native' })
})
afterAll(async () => {
  await compute.close()
  await folder[Symbol.asyncDispose]()
})

const failure = (promise: Promise<unknown>): Promise<AppError> =>
  promise.then(
    () => {
      throw new Error('It went well')
    },
    (error: unknown) => error as AppError
  )
const code = async (promise: Promise<unknown>): Promise<string> => (await failure(promise)).code
const rows = (count: number, seed?: number): Float32Array => randomRows(count, WIDTH, seed)

describe('a step', () => {
  test('aborted in the engine rejects, and the session goes on from its start', async () => {
    const session = await compute.openSession(info.span)
    const first = rows(10)
    await compute.step({ session, start: 0, count: 10, hidden: first.slice() })
    const long = compute.step(
      { session, start: 10, count: LONG, hidden: rows(LONG) },
      AbortSignal.timeout(40)
    )
    expect(await code(long)).toBe('CANCELLED')
    const past = compute.step({ session, start: 11, count: 1, hidden: rows(1) })
    expect(await code(past)).toBe('BAD_INPUT')
    const fresh = await compute.openSession(info.span)
    await compute.step({ session: fresh, start: 0, count: 10, hidden: first.slice() })
    const next = (id: number): Promise<Float32Array> =>
      compute.step({ session: id, start: 10, count: 3, hidden: rows(3) }).then((out) => out.hidden)
    expect(await next(session)).toEqual(await next(fresh))
  })

  test('aborted before it was sent or while it waits never runs', async () => {
    const session = await compute.openSession(info.span)
    const other = await compute.openSession(info.span)
    const aborted = compute.step(
      { session, start: 0, count: 1, hidden: rows(1) },
      AbortSignal.abort()
    )
    expect(await code(aborted)).toBe('CANCELLED')
    const stop = new AbortController()
    const long = compute.step({ session: other, start: 0, count: LONG, hidden: rows(LONG) })
    const waiting = compute.step({ session, start: 0, count: 1, hidden: rows(1) }, stop.signal)
    await Promise.resolve()
    stop.abort()
    expect(await code(waiting)).toBe('CANCELLED')
    await long
    const start = compute.step({ session, start: 1, count: 1, hidden: rows(1) })
    expect(await code(start)).toBe('BAD_INPUT')
  })

  test('aborted when it is already done is taken back', async () => {
    const session = await compute.openSession(info.span)
    const stop = new AbortController()
    const step = compute.step({ session, start: 0, count: 1, hidden: rows(1) }, stop.signal)
    const after = compute.stats().then(() => stop.abort())
    const outcome = await step.catch((error: unknown) => error as AppError)
    await after
    const next = compute.step({ session, start: 1, count: 1, hidden: rows(1) })
    if ('code' in outcome) expect(await code(next)).toBe('BAD_INPUT')
    else expect((await next).hidden.length).toBe(WIDTH)
  })

  test('of one token is answered while a long prompt of another session runs', async () => {
    const [prompt, token] = [
      await compute.openSession(info.span),
      await compute.openSession(info.span)
    ]
    const order: string[] = []
    const long = compute
      .step({ session: prompt, start: 0, count: LONG, hidden: rows(LONG) })
      .then(() => order.push('prompt'))
    for (let at = 0; at < 4; at++) {
      await compute.step({ session: token, start: at, count: 1, hidden: rows(1) })
      order.push('token')
    }
    await long
    expect(order).toEqual(['token', 'token', 'token', 'token', 'prompt'])
  })

  test('beside those of other sessions gives the same bits, and its cancelling disturbs none', async () => {
    const sessions = await Promise.all([0, 1, 2, 3].map(() => compute.openSession(info.span)))
    const inputs = sessions.map((_, i) => rows(12, i))
    const feed = (session: number, input: Float32Array, at: number, signal?: AbortSignal) =>
      compute.step(
        { session, start: at, count: 1, hidden: input.slice(at * WIDTH, (at + 1) * WIDTH) },
        signal
      )
    const alone: Float32Array[][] = []
    for (const input of inputs) {
      const session = await compute.openSession(info.span)
      const outputs: Float32Array[] = []
      for (let at = 0; at < 12; at++) outputs.push((await feed(session, input, at)).hidden)
      alone.push(outputs)
      await compute.closeSession(session)
    }
    const together = sessions.map(async (session, i) => {
      const outputs: Float32Array[] = []
      for (let at = 0; at < 12; at++) {
        // The last session stops its steps again and again, in whatever run they are.
        if (i === 3) {
          const stop = new AbortController()
          const stopped = feed(session, inputs[i]!, at, stop.signal)
          void compute.stats().then(() => stop.abort())
          await stopped.catch(() => {})
        }
        outputs.push((await feed(session, inputs[i]!, at)).hidden)
      }
      return outputs
    })
    expect(await Promise.all(together)).toEqual(alone)
    await Promise.all(sessions.map((session) => compute.closeSession(session)))
  })

  test('waits for those before it in its session', async () => {
    const session = await compute.openSession(info.span)
    const outcomes = await Promise.all([
      compute.step({ session, start: 0, count: 300, hidden: rows(300) }),
      compute.step({ session, start: 300, count: 1, hidden: rows(1) }),
      compute.step({ session, start: 301, count: 200, hidden: rows(200) })
    ])
    expect(outcomes.map(({ hidden }) => hidden.length / WIDTH)).toEqual([300, 1, 200])
  })

  test('takes its rows away from the caller, but not what lies beside them', async () => {
    const session = await compute.openSession(info.span)
    const whole = rows(1)
    await compute.step({ session, start: 0, count: 1, hidden: whole })
    const wide = rows(3)
    const view = wide.subarray(WIDTH, 2 * WIDTH)
    await compute.step({ session, start: 1, count: 1, hidden: view })
    expect([whole.length, wide.length]).toEqual([0, 3 * WIDTH])
  })

  test('of a session that is closed meanwhile is CLOSED', async () => {
    const session = await compute.openSession(info.span)
    const long = compute.step({ session, start: 0, count: LONG, hidden: rows(LONG) })
    const outcome = code(long)
    await compute.closeSession(session)
    expect(await outcome).toBe('CLOSED')
    const late = compute.step({ session, start: 0, count: 1, hidden: rows(1) })
    expect(await code(late)).toBe('NOT_FOUND')
  })
})

describe('loading', () => {
  test('stops when it is aborted and gives all memory back', async () => {
    const before = await compute.stats()
    const stop = new AbortController()
    const options = { location, start: 0, end: 6, quant: 'f32' } as const
    const loading = compute.loadSpan(options, stop.signal)
    await compute.stats()
    stop.abort()
    expect(await code(loading)).toBe('CANCELLED')
    expect(await compute.stats()).toEqual(before)
  })

  test('keeps converted weights, and says what is wrong with the disk', async () => {
    await using cache = await tempFolder()
    // No folder can be made below a file.
    const blocked = await cache.write('file', '')
    const warnings: string[] = []
    const kept: number[] = []
    for (const cacheDir of [cache.path, blocked]) {
      await using own = new Compute({
        threads: 1,
        keep: { cacheDir },
        scratchDir: cache.path,
        onwarn: (text) => warnings.push(text)
      })
      const contentId = 'ab'.repeat(32)
      const options = { location: { ...storiesLocation, contentId }, start: 0, end: 2 }
      await own.loadSpan({ ...options, quant: 'native' })
      kept.push(listConverted(cacheDir)[0]?.files.length ?? 0)
    }
    expect(kept).toEqual([3, 0])
    expect(warnings).toEqual([expect.stringMatching(/^Converted weights are not kept from /)])
  })

  test('says what is wrong with blocks, files and quantisations', async () => {
    const options = { location: storiesLocation, start: 0, end: 5, quant: 'f32' } as const
    const missing = { kind: 'gguf', paths: ['/nowhere/at/all.gguf'] } as const
    expect([
      await code(compute.loadSpan({ ...options, end: 6 })),
      await code(compute.loadSpan({ ...options, start: 3, end: 3 })),
      await code(compute.loadSpan({ ...options, location: missing })),
      await code(compute.loadHead(missing, 'native'))
    ]).toEqual(['BAD_INPUT', 'BAD_INPUT', 'NOT_FOUND', 'NOT_FOUND'])
  })
})

describe('the worker', () => {
  test('closes while it computes, and refuses what comes after', async () => {
    const own = new Compute({ threads: 1 })
    const { span } = await own.loadSpan({
      location: storiesLocation,
      start: 0,
      end: 5,
      quant: 'f32'
    })
    const session = await own.openSession(span)
    const step = own.step({ session, start: 0, count: 512, hidden: randomRows(512, 64) })
    const outcome = step.then(
      () => 'done',
      (error: AppError) => error.code
    )
    await Promise.all([own.close(), own.close()])
    expect(['done', 'COMPUTE', 'CLOSED']).toContain(await outcome)
    expect([await code(own.stats()), await code(own.openSession(span))]).toEqual([
      'CLOSED',
      'CLOSED'
    ])
  })

  test('may be closed before it was opened, and while it opens', async () => {
    await new Compute().close()
    const opening = new Compute()
    const ready = opening.ready()
    await opening.close()
    await ready
    expect(opening.closed).toBe(true)
  })

  test('that dies rejects everything pending and says so', async () => {
    const url = new URL('./support/dying-worker.ts', import.meta.url).href
    await using own = new Compute({}, { workerUrl: url })
    await own.ready()
    const pending = [own.stats(), own.openSession(1)].map(failure)
    const errors = await Promise.all(pending)
    expect(errors.map(({ code, retryable }) => ({ code, retryable }))).toEqual(
      errors.map(() => ({ code: 'CLOSED', retryable: true }))
    )
    expect(errors[0]!.message).toContain('The compute worker failed')
    expect(await code(own.stats())).toBe('CLOSED')
  })

  test('whose library is missing says where it looked', async () => {
    for (const [options, library] of [
      [{ kernelDir: '/nowhere' }, '/nowhere/petals-plain'],
      [{ device: 'onnx-cpu', libraryDir: '/nowhere' }, '/nowhere/libonnxruntime']
    ] as const) {
      await using own = new Compute(options)
      const { code, message, hint } = await failure(own.ready())
      expect({ code, message, hint }).toEqual({
        code: 'UNAVAILABLE',
        message: expect.stringContaining(library) as unknown as string,
        hint: expect.stringContaining('Install') as unknown as string
      })
    }
  })

  test('refuses a number of threads that is none', () => {
    for (const threads of [0, -1, 1.5, Number.NaN, 5000]) {
      expect(() => new Compute({ threads })).toThrow('threads cannot be used')
    }
  })
})
