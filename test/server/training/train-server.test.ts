import { describe, expect, test } from 'bun:test'
import { systemClock } from '../../../src/base/clock.ts'
import { denied } from '../../../src/base/errors.ts'
import { silentLog } from '../../../src/base/log.ts'
import type { TrainResult, TrainStep } from '../../../src/blocks/train/train-types.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { ServerEvents } from '../../../src/server/events.ts'
import {
  TrainServer,
  type Admit,
  type TuneLink
} from '../../../src/server/training/train-server.ts'
import { decodeMessage, encodeMessage } from '../../../src/wire/codec/encode.ts'
import { adapterBytes, answerCodec, callCodec } from '../../../src/wire/codec/tune.ts'
import { IDLE } from '../../../src/wire/peer-error.ts'
import { bytesOfFloats, floatsOf, Pieces, piecesOf } from '../../../src/wire/pieces.ts'
import type { TuneAnswer, TuneCall, Tuned } from '../../../src/wire/types.ts'
import { readFixture } from '../../families/support/fixture.ts'
import { FakeCompute } from '../../support/fakes/fake-compute.ts'

const WIDTH = 32
const MODEL = new Uint8Array(32).fill(1)
const SPAN = { start: 1, end: 3 }
const SHAPE = { rank: 1, scale: 2, targets: ['self_attn.q_proj'] }

const { config } = await openModel(readFixture('llama3').location)

class Caller implements TuneLink {
  readonly peer = 'aa'
  closed = false
  readonly messages: Tuned[] = []
  #wake: () => void = () => {}

  tuned(message: Tuned): boolean {
    this.messages.push({ ...message, data: message.data.slice() })
    this.#wake()
    return this.messages.length % 3 !== 0
  }

  async drained(): Promise<void> {}

  /** The answer to a call, or its failure. */
  async answer(request: number): Promise<TuneAnswer | NonNullable<Tuned['failure']>> {
    for (;;) {
      const own = this.messages.filter((message) => message.request === request)
      const last = own.at(-1)
      if (last?.failure !== undefined) return last.failure
      if (last?.left === 0) {
        const pieces = new Pieces(2 ** 24)
        const whole = own.map((message) => pieces.add(message)).at(-1)
        return decodeMessage(answerCodec, whole!)
      }
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }
}

class Recording extends FakeCompute {
  readonly seen: TrainStep[] = []
  running: Promise<void> = Promise.resolve()

  override async train(step: TrainStep): Promise<TrainResult> {
    this.seen.push(step)
    await this.running
    return super.train(step)
  }
}

function world(options: { callBytes?: number; adapterBytes?: number } = {}): {
  compute: Recording
  server: TrainServer
  events: ServerEvents
  caller: Caller
  call: (request: number, call: Partial<TuneCall>, admit?: Admit) => ReturnType<Caller['answer']>
} {
  const compute = new Recording(WIDTH)
  const events = new ServerEvents({ clock: systemClock })
  const server = new TrainServer({
    compute,
    span: compute.span(SPAN.start, SPAN.end),
    config,
    model: MODEL,
    status: () => IDLE,
    events,
    clock: systemClock,
    log: silentLog,
    ...options
  })
  const caller = new Caller()
  const call = (
    request: number,
    one: Partial<TuneCall>,
    admit?: Admit
  ): ReturnType<Caller['answer']> => {
    const whole: TuneCall = { kind: 'forward', model: MODEL, ...SPAN, deadlineMs: 60_000, ...one }
    const bytes = encodeMessage(callCodec, whole)
    for (const piece of piecesOf(bytes, 1000)) server.ontune(caller, { request, ...piece }, admit)
    return caller.answer(request)
  }
  return { compute, server, events, caller, call }
}

const rows = (count: number, value = 1): Uint8Array =>
  bytesOfFloats(new Float32Array(count * WIDTH).fill(value))

const adapterValues = (): Float32Array => new Float32Array(2 * (32 + 64)).fill(0.5)

function idOf(values: Uint8Array): Uint8Array {
  const hasher = new Bun.CryptoHasher('blake2b256')
  return new Uint8Array(hasher.update(adapterBytes(SHAPE, values)).digest())
}

describe('TrainServer', () => {
  test('computes forwards and back what the engine does, in pieces of any size', async () => {
    const { call, compute } = world()
    const lengths = [20, 30]
    const forward = (await call(1, { lengths, hidden: rows(50, 3) })) as TuneAnswer
    const span = compute.seen[0]!.span
    const direct = await compute.train({
      span,
      range: SPAN,
      lengths,
      hidden: new Float32Array(50 * WIDTH).fill(3)
    })
    expect(floatsOf(forward.hidden)).toEqual(direct.hidden)
    const gradient = rows(50, 2)
    const back = await call(2, { kind: 'backward', lengths, hidden: rows(50), gradient })
    expect('hidden' in back && floatsOf(back.hidden).length).toBe(50 * WIDTH)
    expect(compute.seen.map((step) => step.gradient !== undefined)).toEqual([false, false, true])
  })

  test('keeps an adapter under its id, for the blocks it was brought for', async () => {
    const { call, compute } = world()
    const values = bytesOfFloats(adapterValues())
    const adapter = idOf(values)
    const step = { lengths: [2], hidden: rows(2), adapter }
    expect(await call(1, step)).toMatchObject({ code: 'NOT_FOUND', retryable: true })
    expect(await call(2, { kind: 'adapter', shape: SHAPE, values })).toMatchObject({ status: IDLE })
    await call(3, step)
    expect(compute.seen[0]!.adapter).toEqual({ shape: SHAPE, values: adapterValues() })
    expect(await call(4, { ...step, end: 2 })).toMatchObject({ code: 'NOT_FOUND' })
  })

  test('lets the adapter go that was used longest ago, and takes none over its memory', async () => {
    const size = adapterValues().byteLength
    const { call } = world({ adapterBytes: 2 * size })
    const step = { lengths: [1], hidden: rows(1) }
    const ids: Uint8Array[] = []
    for (const value of [1, 2, 3]) {
      const values = bytesOfFloats(adapterValues().fill(value))
      ids.push(idOf(values))
      await call(value, { kind: 'adapter', shape: SHAPE, values })
    }
    expect(await call(4, { ...step, adapter: ids[0]! })).toMatchObject({ code: 'NOT_FOUND' })
    expect(await call(5, { ...step, adapter: ids[2]! })).toMatchObject({ status: IDLE })
  })

  test.each([
    ['another model', { model: new Uint8Array(32).fill(9) }, 'NOT_FOUND'],
    ['blocks that are elsewhere', { start: 0 }, 'NOT_FOUND'],
    ['no rows', { hidden: undefined }, 'BAD_INPUT'],
    ['a gradient forwards', { gradient: rows(2) }, 'BAD_INPUT'],
    ['an adapter for other parts', adapter({ targets: ['mlp.nothing'] }), 'UNSUPPORTED'],
    ['an adapter of a huge rank', adapter({ rank: 10 ** 6 }), 'BAD_INPUT'],
    ['an adapter that is too short', adapter({ rank: 2 }), 'BAD_INPUT'],
    ['an adapter of no numbers', adapter({}, NaN), 'BAD_INPUT']
  ] as const)('refuses %s', async (_, fault, code) => {
    const { call, compute } = world()
    expect(
      await call(1, { lengths: [2], hidden: rows(2), ...(fault as Partial<TuneCall>) })
    ).toMatchObject({ code })
    expect(compute.seen).toEqual([])
  })

  test('computes nothing that is not admitted, and asks for each way with its tokens', async () => {
    const { call, compute, events } = world()
    const asked: number[] = []
    const admit: Admit = (tokens) => {
      if (tokens > 0) asked.push(tokens)
      if (tokens > 9) throw denied('Too much')
    }
    const none: Admit = () => {
      throw denied('Nothing')
    }
    const step = { lengths: [4, 5], hidden: rows(9) }
    const back = { ...step, kind: 'backward', gradient: rows(9) } as const
    expect(await call(1, step, none)).toMatchObject({ code: 'DENIED' })
    expect(await call(2, { lengths: [10], hidden: rows(10) }, admit)).toMatchObject({
      code: 'DENIED'
    })
    expect(compute.seen).toEqual([])
    expect(await call(3, step, admit)).toMatchObject({ status: IDLE })
    expect(await call(4, back, admit)).toMatchObject({ status: IDLE })
    expect(asked).toEqual([10, 9, 9])
    expect(events.counts).toMatchObject({ trainingSteps: 2, trainingTokens: 18 })
    expect(events.counts.refused.DENIED).toBeGreaterThanOrEqual(2)
  })

  test('refuses pieces that do not go on, and goes on serving', async () => {
    const { call, server, caller } = world()
    const data = new Uint8Array(10)
    server.ontune(caller, { request: 7, left: 90, data })
    server.ontune(caller, { request: 7, left: 90, data })
    expect(await caller.answer(7)).toMatchObject({ code: 'PROTOCOL' })
    expect(server.size).toBe(0)
    expect(await call(8, { lengths: [1], hidden: rows(1) })).toMatchObject({ status: IDLE })
  })

  test('takes no memory for more than it may hold', async () => {
    const { server, caller } = world({ callBytes: 1000 })
    server.ontune(caller, { request: 1, left: 600, data: new Uint8Array(1) })
    server.ontune(caller, { request: 2, left: 600, data: new Uint8Array(1) })
    expect(await caller.answer(2)).toMatchObject({ code: 'BUSY' })
    expect(server.size).toBe(1)
    server.onclosed(caller)
    expect(server.size).toBe(0)
  })

  test('has at most eight calls of one peer, and forgets a cancelled one', async () => {
    const { server, caller } = world()
    for (let request = 1; request <= 9; request++) {
      server.ontune(caller, { request, left: 5, data: new Uint8Array(1) })
    }
    expect(await caller.answer(9)).toMatchObject({ code: 'BUSY' })
    server.ontune(caller, { request: 1, left: 0, data: new Uint8Array(0), cancel: true })
    expect(server.size).toBe(7)
  })

  test('tells callers when it ends', async () => {
    const { call, server, compute } = world()
    const held = Promise.withResolvers<void>()
    compute.running = held.promise
    const answer = call(1, { lengths: [1], hidden: rows(1) })
    server.close()
    expect(await answer).toMatchObject({ code: 'CLOSED' })
    held.resolve()
  })
})

function adapter(change: object, value = 0.5): Partial<TuneCall> {
  const values = bytesOfFloats(adapterValues().fill(value))
  return { kind: 'adapter', hidden: undefined, shape: { ...SHAPE, ...change }, values } as object
}
