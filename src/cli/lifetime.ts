// Ctrl-C and SIGTERM: the first asks everything to end, the second ends the process.
import { EXIT } from './exit.ts'

/** A signal that fires at the first Ctrl-C, SIGTERM or SIGHUP; the second one exits at once. */
export function interruptible(): { signal: AbortSignal; stop: () => void } {
  const controller = new AbortController()
  const onsignal = (): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted)
    controller.abort()
  }
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const name of names) process.on(name, onsignal)
  return {
    signal: controller.signal,
    stop: () => {
      for (const name of names) process.off(name, onsignal)
    }
  }
}

/** Resolves when the signal fires. */
export function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}
