// Starts node-peer.cjs under node (real udx-native) or under Bun (src/udx) and calls it. Every call
// has a deadline and fails with what the child wrote to stderr. Knows no protocol.
import { existsSync } from 'node:fs'
import { join } from 'node:path'

export type Runtime = 'node' | 'bun'

export interface Transport {
  mtu: number
  rtt: number
  retransmits: number
  rtoCount: number
  packetsReceived: number
  packetsTransmitted: number
  connected: boolean
}

export interface StreamReport {
  bytes: number
  /** Of what came in, and of what was written. */
  sha256: string
  sentSha256: string
  events: string[]
  messages: { size: number; sha256: string }[]
  asked: { port: number; host: string; family: number; socket: number }[]
  error: { code?: string; message: string } | null
  closedAfterMs: number | null
  transport: Transport
}

export interface Peer {
  runtime: Runtime
  call<T = unknown>(method: string, args?: object, timeoutMs?: number): Promise<T>
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

interface Waiting {
  resolve: (value: never) => void
  reject: (error: Error) => void
}

interface Answer {
  ready?: true
  id?: number
  result?: unknown
  error?: { message: string; code?: string; stack?: string }
}

const ROOT = join(import.meta.dir, '..', '..')
const CALL_MS = 50_000
const STDERR_CHARS = 4000

export async function startPeer(runtime: Runtime): Promise<Peer> {
  const child = Bun.spawn([command(runtime), join(import.meta.dir, 'node-peer.cjs')], {
    cwd: ROOT,
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe'
  })
  const waiting = new Map<number, Waiting>()
  const state = { next: 1, stderr: '', exited: false }
  const ready = Promise.withResolvers<void>()
  waiting.set(0, { resolve: ready.resolve as (value: never) => void, reject: ready.reject })

  const onanswer = (answer: Answer): void => {
    const id = answer.ready ? 0 : (answer.id ?? -1)
    const entry = waiting.get(id)
    waiting.delete(id)
    if (!answer.error) return entry?.resolve(answer.result as never)
    const { message, code, stack } = answer.error
    const error = new Error(`${runtime} peer: ${message}`, { cause: stack })
    entry?.reject(Object.assign(error, { code }))
  }
  const done = Promise.all([
    eachLine(child.stdout, (line) => onanswer(JSON.parse(line))),
    eachLine(child.stderr, (line) => {
      state.stderr = `${state.stderr}${line}\n`.slice(-STDERR_CHARS)
    }),
    child.exited
  ]).then(() => {
    state.exited = true
    for (const entry of waiting.values()) {
      entry.reject(new Error(`The ${runtime} peer exited: ${state.stderr || child.exitCode}`))
    }
    waiting.clear()
  })

  const call = <T>(method: string, args: object = {}, timeoutMs: number = CALL_MS): Promise<T> => {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    if (state.exited) throw new Error(`The ${runtime} peer exited: ${state.stderr}`)
    const id = state.next++
    waiting.set(id, { resolve, reject })
    child.stdin.write(`${JSON.stringify({ id, method, args })}\n`)
    child.stdin.flush()
    const about = `${runtime} peer: no answer to ${method} ${JSON.stringify(args)}`
    const timer = setTimeout(() => {
      waiting.delete(id)
      reject(new Error(`${about} in ${timeoutMs} ms${state.stderr && `: ${state.stderr}`}`))
    }, timeoutMs)
    return promise.finally(() => clearTimeout(timer))
  }
  const close = async (): Promise<void> => {
    child.kill('SIGKILL')
    await done
  }
  await ready.promise
  return { runtime, call, close, [Symbol.asyncDispose]: close }
}

function command(runtime: Runtime): string {
  if (runtime === 'bun') return process.execPath
  const node = Bun.which('node')
  if (!node) throw new Error('The UDX interop tests need node in PATH, the reference runs under it')
  if (!existsSync(join(ROOT, '.cache/node-ref/installed'))) {
    throw new Error('The UDX reference is not installed: run sh scripts/net/node-reference.sh')
  }
  return node
}

async function eachLine(
  stream: ReadableStream<Uint8Array>,
  online: (line: string) => void
): Promise<void> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const bytes of stream) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) online(line)
  }
  if (rest) online(rest)
}
