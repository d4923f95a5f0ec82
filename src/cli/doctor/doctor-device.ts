// Examines a device in a process of its own, so that a driver that crashes or hangs affects nothing
// else. The child writes each fact as a line of JSON at once, so facts from before a crash count.
import { writeSync } from 'node:fs'
import { embedded } from '../../base/embedded.ts'
import {
  examineDevice,
  type DeviceFacts,
  type ExamineOptions
} from '../../blocks/device/examine.ts'
import type { Device } from '../../blocks/types.ts'
import type { DeviceEnd, DeviceReport } from './doctor-facts.ts'
import { EXAMINE } from './examine-word.ts'

/** The first use of a GPU may compile its kernels. */
const LIMIT_MS = 60_000
/** Most text that is read from a child. */
const MAX_TEXT = 2 ** 20

export interface ProbeOptions extends ExamineOptions {
  signal?: AbortSignal | undefined
  /** Default 60,000 ms. */
  limitMs?: number
  /** The program that examines. Default: this one. */
  command?: readonly string[]
}

/** Examines a device in a child; never throws because of the child. */
export async function probeDevice(device: Device, options: ProbeOptions): Promise<DeviceReport> {
  const { kernelDir, libraryDir, cudaDir } = options
  const { signal, limitMs = LIMIT_MS, command = ownCommand() } = options
  const timeout = AbortSignal.timeout(limitMs)
  const folders = JSON.stringify({ kernelDir, libraryDir, cudaDir })
  const child = Bun.spawn([...command, EXAMINE, device, folders], {
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    killSignal: 'SIGKILL'
  })
  const [text, words] = await Promise.all([readSome(child.stdout), readSome(child.stderr)])
  await child.exited
  return {
    facts: mergeFacts(text),
    end: endOf(child.exitCode, child.signalCode, timeout.aborted ? limitMs : undefined, words)
  }
}

/** The child's part; `words` are its arguments. */
export function runExamine(words: readonly string[]): number {
  const [device = 'cpu', text = '{}'] = words
  const options = JSON.parse(text) as ExamineOptions
  examineDevice(device as Device, options, (facts) => {
    writeSync(1, `${JSON.stringify(facts)}\n`)
  })
  return 0
}

/** Merges lines of JSON, later ones over earlier ones; an incomplete last line is ignored. */
export function mergeFacts(text: string): DeviceFacts {
  const facts: DeviceFacts = {}
  for (const line of text.split('\n')) {
    try {
      Object.assign(facts, JSON.parse(line))
    } catch {
      // Not a fact: output of a driver, or incomplete.
    }
  }
  return facts
}

export function endOf(
  exitCode: number | null,
  signalCode: string | number | null,
  lateMs: number | undefined,
  words: string
): DeviceEnd {
  if (exitCode === 0) return { kind: 'done' }
  if (lateMs !== undefined) return { kind: 'late', ms: lateMs }
  const how = signalCode === null ? `exit code ${exitCode}` : String(signalCode)
  const lines = words.split('\n').filter((line) => line.trim() !== '')
  // Bun describes a crash in many lines; the last is a long address.
  const news = lines.find((line) => line.startsWith('panic')) ?? lines.at(-1) ?? ''
  return { kind: 'died', how, words: news.trim().slice(0, 300) }
}

async function readSome(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder()
  let text = ''
  // Read to the end all the same, because a child that cannot write would wait for ever.
  for await (const chunk of stream) {
    if (text.length < MAX_TEXT) text += decoder.decode(chunk, { stream: true })
  }
  return text
}

function ownCommand(): string[] {
  return embedded ? [process.execPath] : [process.execPath, Bun.main]
}
