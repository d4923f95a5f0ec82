// llama.cpp over its own network: RPC servers as programs, and its llama-bench as their client,
// both built by build-llama-rpc.sh. For bench-push.ts; knows nothing of petals.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Program } from '../processes.ts'

const FOLDER = join(import.meta.dir, '..', '..', '.cache', 'llama-rpc', 'build', 'bin')
/**
 * Its stdout is otherwise held back; and our compute steps back behind other programs, so must it.
 */
const PREFIX = ['nice', '-n', '10', 'stdbuf', '-oL']
const FIRST_PORT = 50_100
const READY_MS = 30_000
const BENCH_MS = 600_000

/** Where one server runs. */
export interface RpcPlace {
  /** Address to listen on. */
  readonly host: string
  /** Words before its command. */
  readonly within: readonly string[]
}

export interface RpcWork {
  /** Tokens of a prompt, or to decode; the other is 0. */
  readonly prompt: number
  readonly decode: number
  /** Measured so often, in one go. */
  readonly rounds: number
}

export class LlamaRpc implements AsyncDisposable {
  readonly #path: string
  readonly #threads: string
  readonly #within: readonly string[]
  readonly #servers: Program[] = []
  readonly #addresses: string[] = []

  /** @throws Error with what to run when llama.cpp is not built */
  static check(): void {
    if (existsSync(join(FOLDER, 'llama-bench'))) return
    throw new Error('llama.cpp is not built: run sh scripts/llama/build-llama-rpc.sh')
  }

  /**
   * @param path the model, a GGUF
   * @param within words before the client's command
   */
  constructor(path: string, threads: string, within: readonly string[] = []) {
    this.#path = path
    this.#threads = threads
    this.#within = within
  }

  async start(places: readonly RpcPlace[]): Promise<void> {
    for (const [i, { host, within }] of places.entries()) {
      const port = String(FIRST_PORT + i)
      const args = ['-H', host, '-p', port, '-t', this.#threads]
      const server = new Program([...within, ...PREFIX, join(FOLDER, 'ggml-rpc-server'), ...args])
      this.#servers.push(server)
      await server.match('stdout', /transport/, READY_MS)
      this.#addresses.push(`${host}:${port}`)
    }
  }

  /**
   * Tokens a second of every round, the model in equal parts on the servers, head and cache too.
   */
  async measure({ prompt, decode, rounds }: RpcWork): Promise<readonly number[]> {
    const shares = this.#addresses.map(() => '1').join('/')
    const model = ['-m', this.#path, '-rpc', this.#addresses.join(','), '-ngl', '99', '-ts', shares]
    const work = ['-p', String(prompt), '-n', String(decode), '-r', String(rounds)]
    const args = [...model, ...work, '-t', this.#threads, '-o', 'jsonl']
    await using bench = new Program([...this.#within, join(FOLDER, 'llama-bench'), ...args])
    const { code, stdout, stderr } = await bench.end(BENCH_MS)
    const [line] = stdout.split('\n')
    if (code !== 0 || !line) throw new Error(`llama-bench ended with ${code}: ${stderr}`)
    return (JSON.parse(line) as { samples_ts: number[] }).samples_ts
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) await server[Symbol.asyncDispose]()
  }
}
