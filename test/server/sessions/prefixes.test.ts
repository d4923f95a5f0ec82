// A server that keeps what ended sessions held: who gets it, which names hold, and that live
// sessions never miss the room. The engine is plain arithmetic.
import { expect, test } from 'bun:test'
import { AppError } from '../../../src/base/errors.ts'
import { BlockServer, type BlockServerOptions } from '../../../src/server/sessions/block-server.ts'
import type { ServerLink } from '../../../src/server/links.ts'
import { publishedLabel } from '../../../src/wire/published-label.ts'
import { encodeTensor } from '../../../src/wire/tensor.ts'
import type { PrefixMark, SessionOpened, StepResult, WireError } from '../../../src/wire/types.ts'
import { FakeClock } from '../../support/fakes/fake-clock.ts'
import { FakeCompute } from '../../support/fakes/fake-compute.ts'

const HIDDEN = 4
const MODEL = new Uint8Array(32).fill(7)

class Peer implements ServerLink {
  readonly peer: string
  readonly openings: SessionOpened[] = []
  readonly results: StepResult[] = []
  readonly errors: WireError[] = []
  #wake: () => void = () => {}

  constructor(key: number) {
    this.peer = Buffer.alloc(32, key).toString('hex')
  }

  opened(message: SessionOpened): void {
    this.openings.push(message)
  }

  result(message: StepResult): void {
    this.results.push(message)
    this.#wake()
  }

  error(message: WireError): void {
    this.errors.push(message)
    this.#wake()
  }

  step(): void {}

  /** Resolves with the next answer. */
  async answer(): Promise<void> {
    const count = this.results.length + this.errors.length
    while (this.results.length + this.errors.length === count) {
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }
}

function id(value: number): Uint8Array {
  return new Uint8Array(16).fill(value)
}

function mark(length: number, label = length): PrefixMark {
  return { length, label: id(label) }
}

class Bench implements AsyncDisposable {
  readonly compute = new FakeCompute(HIDDEN)
  readonly clock = new FakeClock()
  readonly server: BlockServer
  #step = 0

  constructor(more: Partial<BlockServerOptions> = {}) {
    this.server = new BlockServer({
      compute: this.compute,
      span: this.compute.span(2, 4),
      model: MODEL,
      self: new Uint8Array(32).fill(1),
      capacityTokens: 2000,
      reach: () => Promise.reject(new Error('nobody is there')),
      clock: this.clock,
      ...more
    })
  }

  async open(
    peer: Peer,
    session: number,
    more: { prefix?: PrefixMark[]; maxTokens?: number; forget?: boolean; end?: number } = {}
  ): Promise<number | undefined> {
    const before = peer.openings.length
    const message = {
      session: id(session),
      model: MODEL,
      start: 2,
      end: 4,
      maxTokens: 200,
      ...more
    }
    await this.server.open(peer, message)
    const [opened] = peer.openings.slice(before)
    return opened && (opened.held ?? 0)
  }

  /** Runs rows [start, start + count) and waits for the answer. */
  async run(peer: Peer, session: number, start: number, count: number): Promise<number> {
    const answer = peer.answer()
    this.server.step(peer, {
      session: id(session),
      step: this.#step,
      kind: 'forward',
      start,
      count,
      deadlineMs: 1000,
      route: [],
      tensor: encodeTensor(new Float32Array(count * HIDDEN), count, HIDDEN, 'f32')
    })
    await answer
    return this.#step++
  }

  /** A session of `length` tokens with the names of `marks`, that has ended. */
  async leave(peer: Peer, session: number, length: number, marks: PrefixMark[]): Promise<void> {
    await this.open(peer, session)
    const step = await this.run(peer, session, 0, length)
    this.server.keep(peer, { session: id(session), step, marks })
    await this.server.closeSession(peer, { session: id(session) })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.close()
  }
}

test('a session that ended is taken up under its names, by any peer that knows one', async () => {
  await using bench = new Bench()
  const [peer, other] = [new Peer(1), new Peer(2)]
  await bench.leave(peer, 1, 64, [mark(16), mark(32), mark(64)])
  const held = await bench.open(other, 2, { prefix: [mark(16), mark(64), mark(128)] })
  await bench.run(other, 2, 64, 1)
  expect([held, bench.compute.sessions.size, other.errors]).toEqual([64, 1, []])
})

test('a session that still runs gives copies of what it holds under names, and goes on', async () => {
  await using bench = new Bench()
  const [peer, other] = [new Peer(1), new Peer(2)]
  await bench.open(peer, 1)
  const step = await bench.run(peer, 1, 0, 64)
  bench.server.keep(peer, { session: id(1), step, marks: [mark(16), mark(64)] })
  await bench.run(peer, 1, 64, 1)
  const held = [
    await bench.open(other, 2, { prefix: [mark(16), mark(64), mark(65)] }),
    await bench.open(other, 3, { prefix: [mark(16)] }),
    await bench.open(other, 4, { prefix: [mark(64)], end: 3 }),
    await bench.open(other, 5, { prefix: [mark(64, 9)] })
  ]
  expect(held).toEqual([64, 16, 0, 0])
  // What it cuts is not given any more; what was given stays.
  await bench.run(peer, 1, 20, 1)
  expect(await bench.open(other, 6, { prefix: [mark(64)], maxTokens: 100 })).toBe(64)
  await bench.server.closeSession(other, { session: id(2) })
  await bench.server.closeSession(other, { session: id(6) })
  expect([peer.errors, other.errors]).toEqual([[], []])
})

test('of what is kept and what runs the longer is taken', async () => {
  await using bench = new Bench()
  const peer = new Peer(1)
  await bench.leave(peer, 1, 48, [mark(16), mark(48)])
  await bench.open(peer, 2)
  const step = await bench.run(peer, 2, 0, 64)
  bench.server.keep(peer, { session: id(2), step, marks: [mark(16), mark(64)] })
  expect(await bench.open(peer, 3, { prefix: [mark(48), mark(64)] })).toBe(64)
  expect([await bench.open(peer, 4, { prefix: [mark(48)] }), bench.server.kept.prefixes]).toEqual([
    48, 0
  ])
})

test('a session that is to be forgotten gives nothing while it runs', async () => {
  await using bench = new Bench()
  const peer = new Peer(1)
  await bench.open(peer, 1, { forget: true })
  const step = await bench.run(peer, 1, 0, 64)
  bench.server.keep(peer, { session: id(1), step, marks: [mark(64)] })
  expect(await bench.open(peer, 2, { prefix: [mark(64)] })).toBe(0)
})

test('without a name it knows, over other blocks, or beyond its promise a session begins empty', async () => {
  await using bench = new Bench()
  const peer = new Peer(1)
  await bench.leave(peer, 1, 64, [mark(16), mark(64)])
  const wrong = [
    await bench.open(peer, 2, { prefix: [mark(64, 9)] }),
    await bench.open(peer, 3, { prefix: [mark(32, 64)] }),
    await bench.open(peer, 4, { prefix: [mark(64)], end: 3 }),
    await bench.open(peer, 5, { prefix: [mark(64)], maxTokens: 63 })
  ]
  expect([wrong, bench.server.kept.prefixes]).toEqual([[0, 0, 0, 0], 1])
})

test('a session that nobody named, or that is to be forgotten, is freed at once', async () => {
  await using bench = new Bench()
  const peer = new Peer(1)
  await bench.leave(peer, 1, 64, [])
  await bench.open(peer, 2, { forget: true })
  const step = await bench.run(peer, 2, 0, 64)
  bench.server.keep(peer, { session: id(2), step, marks: [mark(64)] })
  await bench.server.closeSession(peer, { session: id(2) })
  expect([bench.server.kept.prefixes, bench.compute.sessions.size]).toEqual([0, 0])
})

test('a session that is to be forgotten takes along what was kept of it, and nothing that is published', async () => {
  await using bench = new Bench()
  const [peer, key] = [new Peer(1), new Uint8Array(32).fill(1)]
  await bench.leave(peer, 1, 64, [mark(16), mark(64)])
  await bench.leave(peer, 9, 48, [mark(16), mark(48)])
  await bench.open(peer, 2)
  const step = await bench.run(peer, 2, 0, 40)
  const shared = [{ length: 40, label: id(8) }]
  bench.server.keep(peer, { session: id(2), step, marks: [], shared })
  await bench.server.closeSession(peer, { session: id(2) })
  // A part of it is all that is asked for, and the rest goes too, and what else begins so.
  const held = [
    await bench.open(peer, 3, { prefix: [mark(16)], forget: true }),
    await bench.open(peer, 4, {
      prefix: [{ length: 40, label: publishedLabel(key, id(8)) }],
      forget: true
    })
  ]
  for (const one of [3, 4]) await bench.server.closeSession(peer, { session: id(one) })
  expect([held, bench.server.kept.prefixes, bench.compute.sessions.size]).toEqual([[16, 40], 1, 1])
})

test('a lost connection leaves its sessions to be taken up', async () => {
  await using bench = new Bench()
  const peer = new Peer(1)
  await bench.open(peer, 1)
  const step = await bench.run(peer, 1, 0, 40)
  bench.server.keep(peer, { session: id(1), step, marks: [mark(32)] })
  await bench.server.disconnected(peer)
  expect(await bench.open(new Peer(2), 1, { prefix: [mark(32)] })).toBe(32)
})

test('names hold only up to where later steps cut, also those that overtook the names', async () => {
  await using bench = new Bench()
  const peer = new Peer(1)
  await bench.open(peer, 1)
  const step = await bench.run(peer, 1, 0, 64)
  // Another text from 20 on, which came by another link before the names of the first did.
  await bench.run(peer, 1, 20, 60)
  bench.server.keep(peer, { session: id(1), step, marks: [mark(16), mark(32), mark(64)] })
  await bench.server.closeSession(peer, { session: id(1) })
  expect(await bench.open(peer, 2, { prefix: [mark(16), mark(32), mark(64)] })).toBe(16)
  const later = await bench.run(peer, 2, 16, 32)
  bench.server.keep(peer, {
    session: id(2),
    step: later,
    marks: [mark(32, 5), mark(48, 6), mark(99)]
  })
  await bench.run(peer, 2, 40, 1)
  await bench.server.closeSession(peer, { session: id(2) })
  expect(
    await bench.open(peer, 3, { prefix: [mark(16), mark(32, 5), mark(48, 6), mark(99)] })
  ).toBe(32)
})

test('a step that does not wait for the opening takes the names from what it cuts', async () => {
  await using bench = new Bench()
  const peer = new Peer(1)
  await bench.leave(peer, 1, 64, [mark(16), mark(32), mark(64)])
  const opening = bench.open(peer, 2, { prefix: [mark(64)] })
  await bench.run(peer, 2, 20, 30)
  await opening
  await bench.server.closeSession(peer, { session: id(2) })
  expect(await bench.open(peer, 3, { prefix: [mark(16), mark(32), mark(64)] })).toBe(16)
})

test("only a session's owner names it, and not more than the limit", async () => {
  await using bench = new Bench()
  const [peer, stranger] = [new Peer(1), new Peer(2)]
  await bench.open(peer, 1)
  const step = await bench.run(peer, 1, 0, 64)
  bench.server.keep(stranger, { session: id(1), step, marks: [mark(64, 9)] })
  bench.server.keep(stranger, { session: id(7), step, marks: [mark(64, 9)] })
  for (let round = 0; round < 3; round++) {
    const marks = Array.from({ length: 200 }, (_, i) => {
      const label = id(0)
      label[0] = i
      label[1] = round
      return { length: 64, label }
    })
    bench.server.keep(peer, { session: id(1), step, marks })
  }
  const [served] = bench.server.sessions.all()
  expect(served?.marks.all.length).toBe(256)
})

test('a published prompt is found under the name of its maker, and stays for the next', async () => {
  await using bench = new Bench()
  const [maker, forger] = [new Peer(1), new Peer(2)]
  const key = new Uint8Array(32).fill(1)
  const publish = async (peer: Peer, session: number, label: Uint8Array): Promise<void> => {
    await bench.open(peer, session)
    const step = await bench.run(peer, session, 0, 40)
    const shared = [{ length: 40, label }]
    bench.server.keep(peer, { session: id(session), step, marks: [], shared })
    await bench.server.closeSession(peer, { session: id(session) })
  }
  await publish(maker, 1, id(8))
  await publish(forger, 2, id(9))
  const ask = (label: number): PrefixMark[] => [
    { length: 40, label: publishedLabel(key, id(label)) }
  ]
  const user = new Peer(3)
  const held = [
    await bench.open(user, 3, { prefix: ask(8) }),
    await bench.open(user, 4, { prefix: ask(8) }),
    await bench.open(user, 5, { prefix: ask(9) }),
    await bench.open(user, 6, { prefix: [mark(40, 8)] })
  ]
  expect(held).toEqual([40, 40, 0, 0])
  // Whoever uses it does not get the maker's other names along.
  expect(bench.server.sessions.all().every(({ marks }) => marks.all.length === 0)).toBe(true)
})

test('live sessions get the room of what is kept, to the last token', async () => {
  await using bench = new Bench({ capacityTokens: 1000 })
  const peer = new Peer(1)
  await bench.leave(peer, 1, 64, [mark(64)])
  const free = bench.server.freeTokens
  const opened = await bench.open(peer, 2, { maxTokens: 1000 })
  expect([free, opened, bench.server.kept.tokens, peer.errors]).toEqual([1000, 0, 0, []])
  expect(bench.compute.sessions.size).toBe(1)
})

test('a session takes up what is kept also where there is no room for both', async () => {
  await using bench = new Bench({ capacityTokens: 600 })
  const peer = new Peer(1)
  await bench.leave(peer, 1, 64, [mark(16), mark(64)])
  const held = await bench.open(peer, 2, { maxTokens: 600, prefix: [mark(16)] })
  expect([held, bench.server.kept.prefixes, bench.compute.sessions.size]).toEqual([16, 0, 1])
})

test('a step that the engine has no memory for gets that of what is kept', async () => {
  await using bench = new Bench()
  const peer = new Peer(1)
  for (const one of [1, 2, 3]) await bench.leave(peer, one, 64, [mark(64, one)])
  await bench.open(peer, 4)
  bench.compute.onstep = () => {
    if (bench.compute.sessions.size > 2) throw new AppError('NO_MEMORY', 'No memory')
  }
  await bench.run(peer, 4, 0, 10)
  expect([peer.errors, bench.server.kept.prefixes]).toEqual([[], 1])
  bench.compute.onstep = () => {
    throw new AppError('NO_MEMORY', 'No memory')
  }
  await bench.run(peer, 4, 10, 10)
  expect([peer.errors.map((error) => error.code), bench.server.kept.prefixes]).toEqual([
    ['NO_MEMORY'],
    0
  ])
})

test('an opening that the engine has no memory for gets that of what is kept', async () => {
  await using bench = new Bench()
  const peer = new Peer(1)
  for (const one of [1, 2, 3]) await bench.leave(peer, one, 64, [mark(64, one)])
  const { compute } = bench
  const open = compute.openSession.bind(compute)
  compute.openSession = async (...args) => {
    if (compute.sessions.size > 1) throw new AppError('NO_MEMORY', 'No memory')
    return open(...args)
  }
  const held = await bench.open(peer, 4)
  expect([held, peer.errors, bench.server.kept.prefixes]).toEqual([0, [], 1])
})

test('what nobody asks for goes after an hour, and all of it when the server ends', async () => {
  const bench = new Bench()
  await bench.server.ready()
  const peer = new Peer(1)
  await bench.leave(peer, 1, 64, [mark(64, 1)])
  await bench.clock.advance(30 * 60_000)
  await bench.leave(peer, 2, 64, [mark(64, 2)])
  await bench.clock.advance(31 * 60_000)
  expect([bench.server.kept.prefixes, bench.compute.sessions.size]).toEqual([1, 1])
  await bench.server.close()
  expect([bench.server.kept, bench.compute.sessions.size]).toEqual([
    { prefixes: 0, tokens: 0, hits: 0, hitTokens: 0 },
    0
  ])
})

test('a server that is told to keep nothing does so', async () => {
  await using bench = new Bench({ keep: { tokens: 0 } })
  await bench.leave(new Peer(1), 1, 64, [mark(64)])
  expect([bench.server.kept.prefixes, bench.compute.sessions.size]).toEqual([0, 0])
})

test('what is shorter than 16 tokens is not kept: it costs less to compute again', async () => {
  await using bench = new Bench()
  const peer = new Peer(1)
  await bench.leave(peer, 1, 15, [mark(15)])
  expect(bench.server.kept.prefixes).toBe(0)
  await bench.leave(peer, 2, 16, [mark(16)])
  expect(bench.server.kept.prefixes).toBe(1)
})

test('160 sessions of one address throw nobody else out', async () => {
  await using bench = new Bench({ capacityTokens: 100_000 })
  const honest = new Peer(1)
  await bench.leave(honest, 1, 64, [mark(64, 200)])
  for (let n = 0; n < 160; n++) {
    const flood = Object.assign(new Peer(100 + (n % 16)), { host: '192.0.2.1' })
    await bench.leave(flood, 2, 16, [{ length: 16, label: new Uint8Array(16).fill(n) }])
  }
  const held = await bench.open(honest, 3, { prefix: [mark(64, 200)] })
  expect([held, bench.server.kept.prefixes]).toEqual([64, 127])
})
