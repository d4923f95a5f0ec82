// llama.cpp on this machine alone, by node-llama-cpp under node: fetched into .cache/llama on first
// use, it is no part of the product. For bench.ts; the program at the other end is
// bench-llama-cpp.mjs.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export const LLAMA_CPP_VERSION = '3.21.1'

/** Something that can be timed at both kinds of work; ms each. */
export interface Contender {
  prefill(ids: readonly number[]): Promise<number>
  decode(ids: readonly number[], count: number): Promise<number>
  /** Probabilities of what comes next, by id. */
  next(ids: readonly number[]): Promise<Float32Array>
  close(): Promise<void>
}

export interface LlamaCppOptions {
  threads: number
  /** Tokens at most. */
  contextSize: number
  vocabSize: number
}

interface Answer {
  readonly ms: number
  readonly probabilities?: readonly (readonly [id: number, probability: number])[]
}

export async function startLlamaCpp(path: string, options: LlamaCppOptions): Promise<Contender> {
  const { threads, contextSize, vocabSize } = options
  const script = join(import.meta.dir, 'bench-llama-cpp.mjs')
  // Our worker steps back behind other programs; on a busy machine only the same is comparable.
  const nice = process.platform === 'linux' ? ['nice', '-n', '10'] : []
  const args = [install(), path, String(threads), String(contextSize)]
  const child = Bun.spawn([...nice, 'node', script, ...args], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit'
  })
  const lines = linesOf(child.stdout)
  const answer = async (): Promise<Answer> => {
    const { value, done } = await lines.next()
    if (done) throw new Error('llama.cpp has ended')
    return JSON.parse(value) as Answer
  }
  await answer()
  const ask = (question: object): Promise<Answer> => {
    child.stdin.write(`${JSON.stringify(question)}\n`)
    child.stdin.flush()
    return answer()
  }
  return {
    prefill: async (ids) => (await ask({ prefill: ids })).ms,
    decode: async (ids, count) => (await ask({ ids, decode: count })).ms,
    async next(ids) {
      const out = new Float32Array(vocabSize)
      const { probabilities = [] } = await ask({ ids, next: true })
      for (const [id, probability] of probabilities) out[id] = probability
      return out
    },
    async close() {
      child.stdin.end()
      await child.exited
    }
  }
}

function install(): string {
  const folder = join(import.meta.dir, '..', '..', '.cache', 'llama')
  const entry = join(folder, 'node_modules', 'node-llama-cpp', 'dist', 'index.js')
  if (existsSync(entry)) return entry
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{ "private": true }')
  const packages = ['node-llama-cpp', `@node-llama-cpp/${process.platform}-${process.arch}`]
  const flags = ['--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund']
  const named = packages.map((name) => `${name}@${LLAMA_CPP_VERSION}`)
  const result = Bun.spawnSync(['npm', 'install', ...flags, ...named], {
    cwd: folder,
    stdout: 'ignore',
    stderr: 'inherit'
  })
  if (result.exitCode !== 0) throw new Error('node-llama-cpp could not be installed')
  return entry
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const bytes of stream) {
    const parts = (rest + decoder.decode(bytes, { stream: true })).split('\n')
    rest = parts.pop() ?? ''
    yield* parts
  }
}
