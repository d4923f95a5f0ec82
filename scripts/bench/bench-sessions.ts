// bun scripts/bench/bench-sessions.ts [--model smollm2-135m] [--threads 2] [--blocks 0:8]
//   [--tokens 16]
// Several sessions on one server: the real server and engine, and clients that request the next
// token at once. Total tokens a second, p50 and p99 of a step for each number of sessions; then
// decoding beside an endless prompt. On a machine with other load look at the CPU times. Nothing is
// asserted.
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { systemClock } from '../../src/base/clock.ts'
import { seededRandom } from '../../src/base/random.ts'
import { Compute } from '../../src/blocks/compute.ts'
import { openModel } from '../../src/model/open-model.ts'
import { resolveModel } from '../../src/model/resolve.ts'
import type { ModelLocation } from '../../src/model/types.ts'
import { BlockServer } from '../../src/server/sessions/block-server.ts'
import type { ServerLink } from '../../src/server/links.ts'
import { encodeTensor } from '../../src/wire/tensor.ts'
import type { SessionOpened, StepResult, WireError } from '../../src/wire/types.ts'

const { values } = scriptArguments(import.meta.path, {
  options: {
    model: { type: 'string', default: 'smollm2-135m' },
    threads: { type: 'string', default: '2' },
    blocks: { type: 'string' },
    quant: { type: 'string', default: 'native' },
    sessions: { type: 'string', default: '1,4,16,64' },
    tokens: { type: 'string', default: '16' },
    beside: { type: 'string', default: '1,4,16' },
    prompt: { type: 'string', default: '16' }
  }
})
/** Tokens a session has before it is measured. */
const PROMPT = Number(values.prompt)
const TOKENS = Number(values.tokens)
/** Rows of a step of the prompt that never ends, and where it begins anew. */
const LONG_ROWS = 512
const LONG_END = 1536

async function locate(name: string): Promise<ModelLocation> {
  if (existsSync(name)) return { kind: 'gguf', paths: [resolve(name)] }
  return resolveModel(name, { cacheDir: join(import.meta.dir, '..', '..', '.cache', 'petals') })
}

const location = await locate(values.model)
const model = await openModel(location)
const { hiddenSize, blockCount } = model.config
model.close()
const [start = 0, end = blockCount] = values.blocks?.split(':').map(Number) ?? []
const quant = values.quant === 'f32' || values.quant === 'int8' ? values.quant : 'native'
await using compute = new Compute({ threads: Number(values.threads) })
const span = await compute.loadSpan({ location, start, end, quant })
const contentId = new Uint8Array(32)
const server = new BlockServer({
  compute,
  span,
  model: contentId,
  self: new Uint8Array(32).fill(1),
  capacityTokens: 10_000_000,
  reach: () => Promise.reject(new Error('There is no other server')),
  limits: { sessionsPerPeer: 16, sessions: 1000 }
})
await server.ready()
const random = seededRandom(1)
/** Prepared in advance, so that making it does not slow the client that measures. */
const pool = Float32Array.from({ length: LONG_ROWS * hiddenSize }, () => random.next() - 0.5)

/** One client with one session, as a peer of its own. */
class Client implements ServerLink {
  readonly peer: string
  readonly #id: Uint8Array
  #waiting = Promise.withResolvers<StepResult | SessionOpened>()
  #step = 0

  constructor() {
    this.#id = Uint8Array.from({ length: 16 }, () => random.below(256))
    this.peer = Buffer.from(this.#id).toString('hex')
  }

  async open(): Promise<void> {
    const message = { session: this.#id, model: contentId, start, end, maxTokens: span.maxTokens }
    this.#waiting = Promise.withResolvers()
    void server.open(this, message)
    await this.#waiting.promise
  }

  /** One step of `count` rows; its ms. */
  async ask(start: number, count: number): Promise<number> {
    const rows = pool.subarray(0, count * hiddenSize)
    const began = systemClock.now()
    this.#waiting = Promise.withResolvers()
    void server.step(this, {
      session: this.#id,
      step: this.#step++,
      kind: 'forward',
      start,
      count,
      deadlineMs: 600_000,
      route: [],
      tensor: encodeTensor(rows, count, hiddenSize, 'f16')
    })
    await this.#waiting.promise
    return systemClock.now() - began
  }

  close(): Promise<void> {
    return server.disconnected(this)
  }

  opened(message: SessionOpened): void {
    this.#waiting.resolve(message)
  }

  result(message: StepResult): void {
    this.#waiting.resolve(message)
  }

  error({ code, message }: WireError): void {
    this.#waiting.reject(new Error(`${code}: ${message}`))
  }

  step(): void {
    throw new TypeError('A client is pushed nothing')
  }
}

interface Measured {
  readonly tokensPerSecond: number
  readonly cpuMsPerToken: number
  readonly p50: number
  readonly p99: number
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

function at(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

/** Clients that decode side by side. */
async function decode(count: number, tokens: number): Promise<Measured> {
  const clients = Array.from({ length: count }, () => new Client())
  await Promise.all(clients.map((client) => client.open()))
  await Promise.all(clients.map((client) => client.ask(0, PROMPT)))
  // Graphs for so many are made on first use.
  const warm = 4
  const run = async (from: number, to: number): Promise<number[]> => {
    const all = clients.map(async (client) => {
      const times: number[] = []
      for (let i = from; i < to; i++) times.push(await client.ask(PROMPT + i, 1))
      return times
    })
    return (await Promise.all(all)).flat()
  }
  await run(0, warm)
  const [began, cpu] = [systemClock.now(), cpuMs()]
  const times = (await run(warm, warm + tokens)).sort((a, b) => a - b)
  const [elapsed, used] = [systemClock.now() - began, cpuMs() - cpu]
  await Promise.all(clients.map((client) => client.close()))
  return {
    tokensPerSecond: (times.length / elapsed) * 1000,
    cpuMsPerToken: used / times.length,
    p50: at(times, 0.5),
    p99: at(times, 0.99)
  }
}

/** An endless prompt, until it is told to stop; returns how many rows it got through. */
async function prefill(signal: AbortSignal): Promise<number> {
  const client = new Client()
  await client.open()
  let rows = 0
  for (let start = 0; !signal.aborted; start = (start + LONG_ROWS) % LONG_END) {
    await client.ask(start, LONG_ROWS)
    rows += LONG_ROWS
  }
  await client.close()
  return rows
}

function print(title: string, rows: readonly (readonly string[])[]): void {
  console.log(`\n${title}`)
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0))) ?? []
  for (const row of rows) {
    console.log(`  ${row.map((cell, i) => cell.padStart(widths[i] ?? 0)).join('  ')}`)
  }
}

const fixed = (value: number, digits = 1): string => value.toFixed(digits)
console.log(
  `${values.model}, blocks ${start}:${end}, ${values.quant}, ${values.threads} threads; ` +
    `${TOKENS} tokens a session after ${PROMPT}`
)

const counts = values.sessions.split(',').map(Number)
const rows = [['sessions', 'tokens/s', 'ratio', 'p50 ms', 'p99 ms', 'CPU ms/token', 'CPU ratio']]
let one: Measured | undefined
for (const count of counts) {
  const measured = await decode(count, count === 1 ? TOKENS * 4 : TOKENS)
  one ??= measured
  rows.push([
    String(count),
    fixed(measured.tokensPerSecond),
    fixed(measured.tokensPerSecond / one.tokensPerSecond, 2),
    fixed(measured.p50),
    fixed(measured.p99),
    fixed(measured.cpuMsPerToken, 2),
    fixed(one.cpuMsPerToken / measured.cpuMsPerToken, 2)
  ])
}
print('Sessions that decode side by side', rows)

const beside = [['sessions', 'alone p50', 'p99', 'beside p50', 'p99', 'p99 ratio', 'prompt rows/s']]
for (const count of values.beside.split(',').map(Number)) {
  const alone = await decode(count, TOKENS * 4)
  const stop = new AbortController()
  const began = systemClock.now()
  const prompt = prefill(stop.signal)
  const with_ = await decode(count, TOKENS * 4)
  stop.abort()
  const done = await prompt
  beside.push([
    String(count),
    fixed(alone.p50),
    fixed(alone.p99),
    fixed(with_.p50),
    fixed(with_.p99),
    fixed(with_.p99 / alone.p99, 2),
    fixed((done / (systemClock.now() - began)) * 1000, 0)
  ])
}
print('The same beside a prompt without end, ms', beside)
await server.close()
