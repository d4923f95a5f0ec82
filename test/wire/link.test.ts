// Links over real encrypted streams in memory: what arrives, what ends a link, what holds it back.
import { describe, expect, test } from 'bun:test'
import { denied, timedOut, type AppError } from '../../src/base/errors.ts'
import { encodeMessage } from '../../src/wire/codec/encode.ts'
import { stepCodec } from '../../src/wire/codec/step.ts'
import type { LinkHandlers } from '../../src/wire/link.ts'
import { PeerLink } from '../../src/wire/link.ts'
import { LIMITS } from '../../src/wire/protocol.ts'
import { encodeTensor } from '../../src/wire/tensor.ts'
import type { Step, WireError } from '../../src/wire/types.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'
import { info, messages } from './samples.ts'
import { helloOfNobody, linkPair, streamPair } from './stream-pair.ts'

/** A promise and handlers' names that settle it. */
function event<T>(): { promise: Promise<T>; fire: (value: T) => void } {
  const { promise, resolve } = Promise.withResolvers<T>()
  return { promise, fire: resolve }
}

/** Handlers that resolve with the error that ended the link. */
function watchEnd(handlers: LinkHandlers = {}): LinkHandlers & { ended: Promise<AppError> } {
  const ended = event<AppError>()
  return { ...handlers, onclosed: (_, error) => ended.fire(error), ended: ended.promise }
}

function stepOf(step: number, rows = 1, columns = 4): Step {
  const tensor = encodeTensor(new Float32Array(rows * columns).fill(0.5), rows, columns, 'f32')
  const { session } = messages.step
  const base = { session, kind: 'forward', start: 0, deadlineMs: 1000, route: [] } as const
  return { ...base, step, count: rows, tensor }
}

/** Frames as protomux lays them out, to send what no codec of ours would. */
const CHANNEL = 1
function frame(type: number, bytes: Uint8Array | readonly number[]): Uint8Array {
  return Uint8Array.from([CHANNEL, type, ...bytes])
}

describe('PeerLink', () => {
  test('gives each side the hello of the other and knows who it is', async () => {
    const { a, b, streams } = await linkPair({}, {}, { hello: { ...helloOfNobody, agent: 'me' } })
    await Promise.all([a.ready(), b.ready()])
    expect([a.remote?.agent, b.remote?.agent]).toEqual(['me', 'me'])
    expect(a.peer).toBe(Buffer.from(streams[1].publicKey).toString('hex'))
    expect([a.initiator, b.initiator]).toEqual([true, false])
    await Promise.all([a.close(), b.close()])
  })

  test('carries every message of both roles, also before the hello came back', async () => {
    const seen: [string, unknown][] = []
    const done = event<void>()
    const note =
      (name: string) =>
      (_: PeerLink, message: unknown): void => {
        seen.push([name, structuredClone(message)])
        if (seen.length === 9) done.fire()
      }
    const { a, b, streams } = await linkPair(
      {},
      {
        onopen: note('open'),
        onopened: note('opened'),
        onstep: note('step'),
        onresult: note('result'),
        onerror: note('error'),
        oncancel: note('cancel'),
        onkeep: note('keep'),
        onclosesession: note('close'),
        onannounce: note('announce')
      }
    )
    const own = { servers: [{ ...info, peer: streams[0].publicKey }] }
    a.open(messages.open)
    a.opened(messages.opened)
    a.step(messages.step)
    a.result(messages.result)
    a.error(messages.error)
    a.cancel(messages.cancel)
    a.keep(messages.keep)
    a.closeSession(messages.close)
    a.announce(own)
    await done.promise
    const { open, opened, step, result, error, cancel, keep, close } = messages
    const sent = { open, opened, step, result, error, cancel, keep, close, announce: own }
    expect(seen).toEqual(structuredClone(Object.entries(sent)))
    expect(b.servers).toEqual(own.servers.map((server) => ({ ...server })))
    await Promise.all([a.close(), b.close()])
  })

  test('measures a round trip', async () => {
    const { a, b } = await linkPair({}, {})
    expect(await a.ping(30_000)).toBeGreaterThan(0)
    await Promise.all([a.close(), b.close()])
  })

  test('gives up a ping at its deadline', async () => {
    const clock = new FakeClock()
    const { a, b, streams } = await linkPair({}, {}, { clock })
    await a.ready()
    streams[1].pause()
    const ping = a.ping(500).catch((error: AppError) => error.code)
    await clock.advance(500)
    expect(await ping).toBe('TIMEOUT')
    a.destroy()
    b.destroy()
  })

  test('says goodbye: the other side hears DISCONNECTED, this one CLOSED', async () => {
    const [one, two] = [watchEnd(), watchEnd()]
    const { a, b } = await linkPair(one, two)
    await Promise.all([a.ready(), b.ready()])
    await a.close()
    const codes = [await one.ended, await two.ended].map((error) => error.code)
    expect(codes).toEqual(['CLOSED', 'DISCONNECTED'])
    expect([a.closed, b.closed, a.step(stepOf(1))]).toEqual([true, true, false])
  })

  test('delivers what was sent before it was closed', async () => {
    const got = event<number>()
    const { a, b } = await linkPair({}, { onresult: (_, { tensor }) => got.fire(tensor.rows) })
    await Promise.all([a.ready(), b.ready()])
    const tensor = encodeTensor(new Float32Array(500 * 1000), 500, 1000, 'f32')
    a.result({ ...messages.result, tensor })
    await a.close()
    expect(await got.promise).toBe(500)
  })

  test('fails ready() when the connection breaks before hello', async () => {
    const [one, two] = await streamPair()
    const link = new PeerLink(one, { hello: helloOfNobody, handlers: {} })
    two.destroy()
    expect(await link.ready().catch((error: AppError) => error.code)).toBe('DISCONNECTED')
  })

  test('ends a link whose other side says no hello in time', async () => {
    const clock = new FakeClock()
    const [one] = await streamPair()
    const link = new PeerLink(one, { hello: helloOfNobody, handlers: {}, clock, helloMs: 3000 })
    const failed = link.ready().catch((error: AppError) => error.code)
    await clock.advance(3000)
    expect(await failed).toBe('TIMEOUT')
  })

  test('refuses a peer that presents a server that it is not', async () => {
    const [one, two] = await streamPair()
    const a = new PeerLink(one, { hello: { ...helloOfNobody, servers: [info] }, handlers: {} })
    const b = new PeerLink(two, { hello: helloOfNobody, handlers: {} })
    expect(await b.ready().catch((error: AppError) => error.code)).toBe('PROTOCOL')
    a.destroy()
  })

  test('tells a peer that it refuses why, and nothing else', async () => {
    const [one, two] = await streamPair()
    const told = event<WireError>()
    const stranger = watchEnd({ onerror: (_, message) => told.fire(message) })
    const a = new PeerLink(one, { hello: helloOfNobody, handlers: stranger })
    const b = new PeerLink(two, {
      hello: () => helloOfNobody,
      refusal: () => ({ why: denied('Members only'), isTold: true }),
      handlers: {
        onready: () => told.fire({} as WireError),
        status: () => ({ queue: 5, freeTokens: 77, computeMs: 0, queueMs: 0 })
      }
    })
    a.cancel(messages.cancel)
    expect(await b.ready().catch((error: AppError) => error.code)).toBe('PROTOCOL')
    const { code, message, status } = await told.promise
    expect([code, message]).toEqual(['DENIED', 'Members only'])
    expect(status).toEqual({ queue: 0, freeTokens: 0, computeMs: 0, queueMs: 0 })
    expect((await stranger.ended).code).toBe('DENIED')
  })

  test('ends the connection without a word where the reason is not for the peer', async () => {
    const [one, two] = await streamPair()
    const errors: WireError[] = []
    const stranger = watchEnd({ onerror: (_, message) => void errors.push(message) })
    const a = new PeerLink(one, { hello: helloOfNobody, handlers: stranger })
    const b = new PeerLink(two, {
      hello: () => helloOfNobody,
      refusal: () => ({ why: denied('Members only'), isTold: false }),
      handlers: {}
    })
    a.cancel(messages.cancel)
    expect(await b.ready().catch((error: AppError) => error.code)).toBe('PROTOCOL')
    expect([(await stranger.ended).code, errors]).toEqual(['DISCONNECTED', []])
  })

  test('carries a list of revoked invites with its spans', async () => {
    const heard = event<Uint8Array | undefined>()
    const { a, b } = await linkPair(
      {},
      { onannounce: (_, { revocations }) => heard.fire(revocations?.slice()) }
    )
    await a.ready()
    a.announce({ servers: [], revocations: Uint8Array.of(1, 2, 3) })
    expect(await heard.promise).toEqual(Uint8Array.of(1, 2, 3))
    await Promise.all([a.close(), b.close()])
  })

  test('tells the peer why it ends', async () => {
    const two = watchEnd()
    const { a, b } = await linkPair({}, two)
    await Promise.all([a.ready(), b.ready()])
    a.destroy(timedOut('Too slow'))
    const error = await two.ended
    expect([error.code, error.message]).toEqual(['TIMEOUT', 'The peer ended the link: Too slow'])
  })

  test('skips a message of an unknown type', async () => {
    const { a, b, streams } = await linkPair({}, {})
    await a.ready()
    streams[0].write(frame(99, [1, 2, 3]))
    expect(await a.ping(30_000)).toBeGreaterThan(0)
    await Promise.all([a.close(), b.close()])
  })

  test('answers a step that cannot be read with an error for its session, and lives on', async () => {
    const failed = event<WireError>()
    const { a, b, streams } = await linkPair({ onerror: (_, message) => failed.fire(message) }, {})
    await a.ready()
    streams[0].write(frame(2, encodeMessage(stepCodec, stepOf(9)).subarray(0, -1)))
    const { session, step, code } = await failed.promise
    expect([session, step, code]).toEqual([messages.step.session, 9, 'PROTOCOL'])
    expect(await a.ping(30_000)).toBeGreaterThan(0)
    await Promise.all([a.close(), b.close()])
  })

  test('takes a result that cannot be read for the failure of its step', async () => {
    const failed = event<WireError>()
    const { a, b, streams } = await linkPair({}, { onerror: (_, message) => failed.fire(message) })
    await a.ready()
    streams[0].write(frame(3, [0, ...messages.step.session, 4]))
    const { step, code } = await failed.promise
    expect([step, code]).toEqual([4, 'PROTOCOL'])
    await Promise.all([a.close(), b.close()])
  })

  test('ends the link at the 16th message that cannot be read', async () => {
    const two = watchEnd()
    const { a, streams } = await linkPair({}, two)
    await a.ready()
    for (let i = 0; i < LIMITS.faults; i++) {
      streams[0].write(frame(2, [0, ...messages.step.session, i]))
    }
    expect((await two.ended).code).toBe('PROTOCOL')
  })

  test('ends the link over a message whose session cannot be read', async () => {
    const two = watchEnd()
    const { a, streams } = await linkPair({}, two)
    await a.ready()
    streams[0].write(frame(2, [0, 1, 2]))
    expect((await two.ended).code).toBe('PROTOCOL')
  })

  test('ends the link over a frame above the limit, a batch, or many channels', async () => {
    const opening = (id: number): Uint8Array => Uint8Array.from([0, 1, id, 1, 0x78, 0])
    const attacks: Uint8Array[][] = [
      [new Uint8Array(LIMITS.frameBytes + 1).fill(1)],
      [Uint8Array.from([0, 0, 1, 2, 7, 0])],
      Array.from({ length: LIMITS.controlFrames + 1 }, (_, i) => opening(i + 2))
    ]
    const codes: string[] = []
    for (const frames of attacks) {
      const two = watchEnd()
      const { a, streams } = await linkPair({}, two)
      await a.ready()
      for (const bytes of frames) streams[0].write(bytes)
      codes.push((await two.ended).code)
    }
    expect(codes).toEqual(['LIMIT', 'PROTOCOL', 'LIMIT'])
  })

  test('lives through a handler that throws', async () => {
    const { a, b } = await linkPair(
      {},
      {
        onopen() {
          throw new TypeError('A mistake of ours')
        }
      }
    )
    a.open(messages.open)
    expect(await a.ping(30_000)).toBeGreaterThan(0)
    await Promise.all([a.close(), b.close()])
  })

  test('answers a step whose handler rejects with an error for its session', async () => {
    const failed = event<WireError>()
    const { a, b } = await linkPair(
      { onerror: (_, message) => failed.fire(message) },
      { onstep: () => Promise.reject(timedOut('Too long')) }
    )
    a.step(stepOf(3))
    const { session, step, code } = await failed.promise
    expect([session, step, code]).toEqual([messages.step.session, 3, 'TIMEOUT'])
    await Promise.all([a.close(), b.close()])
  })

  test('hears no want for weights before the peer was let in', async () => {
    const wants: number[] = []
    const { a, b } = await linkPair(
      {},
      { onwant: (_, { request }) => wants.push(request) },
      { refusal: () => undefined }
    )
    const want = { what: 0, name: 'a/b', start: 0, count: 0 }
    a.want({ ...want, request: 1 })
    a.announce({ servers: [] })
    await b.ready()
    a.want({ ...want, request: 2 })
    b.announce({ servers: [] })
    await a.ping(30_000)
    expect(wants).toEqual([2])
    await Promise.all([a.close(), b.close()])
  })

  test('tells a sender to wait, and when to go on', async () => {
    const { a, b, streams } = await linkPair({}, {})
    await Promise.all([a.ready(), b.ready()])
    streams[0].rawStream.pause()
    const sent = [a.step(stepOf(1)), a.step(stepOf(2, 512, 1024)), a.queuedBytes > 2_000_000]
    expect(sent).toEqual([true, false, true])
    const drained = a.drained()
    streams[0].rawStream.resume()
    await drained
    expect([a.queuedBytes, a.step(stepOf(3))]).toEqual([0, true])
    await Promise.all([a.close(), b.close()])
  })

  test('ends a link whose peer reads too slowly, at the bound', async () => {
    const one = watchEnd()
    const { a, b, streams } = await linkPair(one, {}, { maxQueuedBytes: 8_000_000 })
    await Promise.all([a.ready(), b.ready()])
    streams[0].rawStream.pause()
    let most = 0
    for (let i = 0; i < 100 && !a.closed; i++) {
      a.step(stepOf(i, 512, 1024))
      most = Math.max(most, a.queuedBytes)
    }
    expect((await one.ended).code).toBe('LIMIT')
    expect(most).toBeLessThan(8_000_000 + 2_200_000)
    b.destroy()
  })

  test('ends a link whose peer reads nothing for too long', async () => {
    const clock = new FakeClock()
    const one = watchEnd()
    const { a, b, streams } = await linkPair(one, {}, { clock, stallMs: 5000 })
    await Promise.all([a.ready(), b.ready()])
    streams[0].rawStream.pause()
    for (let i = 0; i < 10; i++) a.step(stepOf(i, 512, 1024))
    await clock.advance(10_000)
    expect((await one.ended).code).toBe('LIMIT')
    b.destroy()
  })

  test('stops reading while too many bytes of steps are unanswered', async () => {
    const answers: (() => void)[] = []
    const two = event<void>()
    const five = event<void>()
    const { a, b } = await linkPair(
      {},
      {
        onstep() {
          const { promise, resolve } = Promise.withResolvers<void>()
          if (answers.push(resolve) === 2) two.fire()
          if (answers.length === 5) five.fire()
          return promise
        }
      },
      { maxPendingBytes: 3_000_000 }
    )
    await Promise.all([a.ready(), b.ready()])
    for (let i = 0; i < 5; i++) a.step(stepOf(i, 512, 1024))
    await two.promise
    const held = b.ping(30_000).catch((error: AppError) => error.code)
    // Two steps fill the gate: what follows is not read, the ping's answer included.
    expect(answers.length).toBe(2)
    answers[0]?.()
    answers[1]?.()
    while (answers.length < 5) {
      await Promise.race([five.promise, new Promise((resolve) => setImmediate(resolve))])
      for (const answer of answers) answer()
    }
    expect(await held).toBeGreaterThan(0)
    await Promise.all([a.close(), b.close()])
  })

  test('runs no timer of its own while idle', async () => {
    const clock = new FakeClock()
    const { a, b } = await linkPair({}, {}, { clock })
    await Promise.all([a.ready(), b.ready(), a.ping(30_000)])
    expect(clock.pending).toBe(0)
    a.destroy()
    b.destroy()
  })
})
