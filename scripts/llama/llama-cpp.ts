// llama.cpp on this machine alone, by node-llama-cpp under node: fetched into .cache/llama on first
// use, it is no part of the product. PETALS_CPU=avx2 and avx512 limit it as they limit us. For
// bench.ts; the program at the other end is bench-llama-cpp.mjs.
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import { wantedVariant } from '../../src/kernels/wanted.ts'

export const LLAMA_CPP_VERSION = '3.21.1'

/** Builds for CPUs with more than PETALS_CPU says; the others stay. */
const BEYOND: Readonly<Record<string, RegExp>> = {
  avx2: /cpu-(alderlake|cannonlake|cascadelake|cooperlake|icelake|sapphirerapids|skylakex|zen4)\.so$/,
  avx512: /cpu-(alderlake|sapphirerapids)\.so$/
}

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
  const args = [limited(install()), path, String(threads), String(contextSize)]
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

/**
 * The same package without builds that use more than PETALS_CPU permits, in a folder of its own.
 */
function limited(entry: string): string {
  const variant = wantedVariant() ?? ''
  const beyond = BEYOND[variant]
  if (beyond === undefined) return entry
  const whole = join(import.meta.dir, '..', '..', '.cache', 'llama')
  const folder = `${whole}-${variant}`
  const found = entry.replace(whole, folder)
  if (existsSync(found)) return found
  const draft = `${folder}.${process.pid}`
  cpSync(whole, draft, { recursive: true, dereference: true })
  const builds = join(draft, 'node_modules', '@node-llama-cpp')
  for (const name of readdirSync(builds, { recursive: true, encoding: 'utf8' })) {
    if (beyond.test(name)) rmSync(join(builds, name))
  }
  renameSync(draft, folder)
  return found
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
