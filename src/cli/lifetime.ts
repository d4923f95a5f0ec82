// Ctrl-C, SIGTERM and SIGHUP: the first one asks everything to end, the second ends the process. A
// signal that was ignored when the program started stays ignored, as nohup and background jobs need
// it.
import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { EXIT } from './exit.ts'

export interface Lifetime {
  readonly signal: AbortSignal
  /** What asked for the end, in words; undefined if nothing did. */
  readonly cause: string | undefined
  stop(): void
}

const WORDS = {
  SIGINT: 'Ctrl-C (SIGINT)',
  SIGTERM: 'told to by SIGTERM',
  SIGHUP: 'its terminal went away (SIGHUP)'
} as const

type Name = keyof typeof WORDS

/**
 * A signal that fires at the first Ctrl-C, SIGTERM or SIGHUP; at the second one the process exits.
 */
export function interruptible(isIgnored: (name: Name) => boolean = inheritedAsIgnored): Lifetime {
  const controller = new AbortController()
  let cause: string | undefined
  const handlers = (Object.keys(WORDS) as Name[])
    .filter((name) => !isIgnored(name))
    .map((name) => {
      const onsignal = (): void => {
        if (controller.signal.aborted) process.exit(EXIT.interrupted)
        cause = WORDS[name]
        controller.abort()
      }
      return { name, onsignal }
    })
  for (const { name, onsignal } of handlers) process.on(name, onsignal)
  return {
    signal: controller.signal,
    get cause() {
      return cause
    },
    stop: () => {
      for (const { name, onsignal } of handlers) process.off(name, onsignal)
    }
  }
}

/** Whether the program started with the signal ignored. Only Linux tells; elsewhere false. */
function inheritedAsIgnored(name: Name): boolean {
  if (process.platform !== 'linux') return false
  try {
    return isIgnoredIn(readFileSync('/proc/self/status', 'utf8'), constants.signals[name])
  } catch {
    return false
  }
}

/** @param status content of /proc/PID/status */
export function isIgnoredIn(status: string, signal: number): boolean {
  const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(status)?.[1]
  return mask !== undefined && ((BigInt(`0x${mask}`) >> BigInt(signal - 1)) & 1n) === 1n
}

/** Resolves when the signal fires. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
