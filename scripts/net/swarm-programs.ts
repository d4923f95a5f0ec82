// A swarm of programs on loopback for benchmarks and chaos: bootstrap, servers, clients, each a
// process of the executable with a home of its own. Knows no measurements.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Program, type Ending } from '../processes.ts'

const READY_MS = 180_000

export interface Served {
  readonly name: string
  readonly blocks: string
  readonly program: Program
}

export interface SwarmPlace {
  /** Address of the bootstrap node. Default: loopback. */
  host?: string
  /** Words before every command, e.g. to run it in another network namespace. */
  within?: readonly string[]
}

export class ProgramSwarm implements AsyncDisposable {
  readonly folder: string
  address = ''
  readonly #petals: readonly string[]
  readonly #options: SwarmPlace
  readonly #programs: Program[] = []

  /**
   * @param petals the executable with its first words, e.g. ['./petals'] or ['bun',
   * 'src/cli/main.ts']
   */
  constructor(petals: readonly string[], options: SwarmPlace = {}) {
    this.#petals = petals
    this.#options = options
    this.folder = mkdtempSync(join(tmpdir(), 'petals-swarm-'))
  }

  async bootstrap(): Promise<void> {
    const { host } = this.#options
    const at = host === undefined ? [] : ['--host', host]
    const program = this.#start('bootstrap', ['bootstrap', '--port', '0', ...at])
    const [, address = ''] = await program.match('stdout', /^(\d+(?:\.\d+){3}:\d+)\s*$/m, READY_MS)
    this.address = address
  }

  /** Starts a server and waits until it is ready. */
  async join(
    model: string,
    blocks: string,
    more: readonly string[] = [],
    name = `server-${blocks.replace(':', '-')}`,
    within?: readonly string[]
  ): Promise<Served> {
    const args = ['join', model, '--bootstrap', this.address, '--blocks', blocks, ...more]
    const program = this.#start(name, args, '', within)
    await program.match('stderr', /^ready\b/m, READY_MS)
    return { name, blocks, program }
  }

  /** Starts a chat that computes no blocks itself; the caller awaits its end. */
  chat(model: string, args: readonly string[], input = '', name = 'client'): Program {
    const swarm = ['--bootstrap', this.address, '--here', 'none']
    return this.#start(name, ['chat', model, ...swarm, ...args], input)
  }

  /** Starts `petals tune`; the caller awaits its end. */
  tune(model: string, data: string, args: readonly string[], name = 'tune'): Program {
    return this.#start(name, ['tune', model, data, '--bootstrap', this.address, ...args])
  }

  /** Starts `petals api`, and waits until its model is open. */
  async api(
    model: string,
    args: readonly string[],
    name = 'api'
  ): Promise<{ readonly url: string; readonly pid: number }> {
    const all = ['api', model, '--bootstrap', this.address, '--port', '0', ...args]
    const program = this.#start(name, all)
    const [, url = ''] = await program.match('stdout', /^(http:\S+)$/m, READY_MS)
    await program.match('stderr', /is ready$/m, READY_MS)
    return { url, pid: program.pid }
  }

  async ask(model: string, args: readonly string[], input = '', ms = 300_000): Promise<Ending> {
    await using program = this.chat(model, args, input)
    const ending = await program.end(ms)
    if (ending.code !== 0) throw new Error(`chat ended with ${ending.code}: ${ending.stderr}`)
    return ending
  }

  /** Starts a server that chooses its blocks itself, and waits until it is ready. */
  async joinAnywhere(model: string, more: readonly string[], name = 'server'): Promise<Served> {
    const args = ['join', model, '--bootstrap', this.address, ...more]
    const program = this.#start(name, args)
    const [, blocks = ''] = await program.match('stderr', /^ready: .* blocks (\d+:\d+) /m, READY_MS)
    return { name, blocks, program }
  }

  /** What `plan --json` foretells. */
  async plan(model: string, args: readonly string[], ms = 120_000): Promise<unknown> {
    const all = ['plan', model, '--bootstrap', this.address, '--json', ...args]
    await using program = this.#start('planner', all)
    const ending = await program.end(ms)
    if (ending.code !== 0) throw new Error(`plan ended with ${ending.code}: ${ending.stderr}`)
    return JSON.parse(ending.stdout) as unknown
  }

  /** What any other command prints, e.g. status. @throws Error when it fails */
  async run(args: readonly string[], ms = 60_000): Promise<Ending> {
    await using program = this.#start('runner', [...args, '--bootstrap', this.address])
    const ending = await program.end(ms)
    if (ending.code !== 0) throw new Error(`${args[0]} ended with ${ending.code}: ${ending.stderr}`)
    return ending
  }

  async stop(served: Served): Promise<void> {
    await served.program[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#programs.map((program) => program[Symbol.asyncDispose]()))
    rmSync(this.folder, { recursive: true, force: true })
  }

  /** Downloads are shared with the user's cache, identities are not. */
  #start(
    name: string,
    args: readonly string[],
    input = '',
    within: readonly string[] = this.#options.within ?? []
  ): Program {
    const cache = process.env['XDG_CACHE_HOME'] ?? join(process.env['HOME'] ?? '', '.cache')
    const env = {
      PATH: process.env['PATH'] ?? '',
      HOME: process.env['HOME'] ?? '',
      XDG_CACHE_HOME: cache,
      XDG_DATA_HOME: join(this.folder, name)
    }
    const program = new Program([...within, ...this.#petals, ...args], { env, input })
    this.#programs.push(program)
    return program
  }
}

export interface StatsLine {
  readonly tokens: number
  readonly tokensPerSecond: number
  readonly promptTokens: number
  readonly firstTokenMs: number
  readonly rerouted: number
}

/** What `chat --stats` said. @throws Error when it did not */
export function readStats(stderr: string): StatsLine {
  const match =
    /(\d+) tokens, ([\d.]+) tokens\/s; prompt (\d+) tokens.*?first token (\d+) ms;.*?(?:; (\d+) rerouted)?$/m.exec(
      stderr
    )
  if (!match) throw new Error(`No line of --stats in: ${stderr}`)
  const [, tokens, rate, prompt, first, rerouted] = match
  return {
    tokens: Number(tokens),
    tokensPerSecond: Number(rate),
    promptTokens: Number(prompt),
    firstTokenMs: Number(first),
    rerouted: Number(rerouted ?? 0)
  }
}

/** What `chat --trace` said of a step, ms by part. @throws Error when it did not */
export function readTrace(stderr: string): ReadonlyMap<string, number> {
  const parts = /^step, median ms of \d+: (.*)$/m.exec(stderr)?.[1]
  if (parts === undefined) throw new Error(`No line of --trace in: ${stderr}`)
  return new Map(
    parts.split(', ').map((part) => {
      const [name = '', ms] = part.split(' ')
      return [name, Number(ms)]
    })
  )
}

/** What `chat --trace` said of the prompt, ms. @throws Error when it did not */
export function readPromptTrace(stderr: string): {
  readonly firstTokenMs: number
  /** Until every block had an open session. */
  readonly openingMs: number
  /** By server, in the order of blocks. */
  readonly computeMs: readonly number[]
} {
  const match =
    /^prompt, ms: first token ([\d.]+), of it opening ([\d.]+); compute by server (.*)$/m.exec(
      stderr
    )
  if (!match) throw new Error(`No line of --trace in: ${stderr}`)
  const [, first, opening, compute = ''] = match
  return {
    firstTokenMs: Number(first),
    openingMs: Number(opening),
    computeMs: compute.split(' + ').map(Number)
  }
}

/** `blocks` in so many spans, as --blocks takes them. */
export function partsOf(blocks: number, count: number): readonly string[] {
  const cut = (i: number): number => Math.round((i * blocks) / count)
  return Array.from({ length: count }, (_, i) => `${cut(i)}:${cut(i + 1)}`)
}

export function thirdsOf(blocks: number): readonly string[] {
  return partsOf(blocks, 3)
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
