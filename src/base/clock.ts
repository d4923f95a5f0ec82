// Time, as something that tests can replace: a monotonic reading, a wall reading and waits that can
// be cancelled. The only file that reads the system's clocks.
import { cancelled, timedOut } from './errors.ts'

export interface Clock {
  /** Monotonic milliseconds, for durations. */
  now(): number
  /** Milliseconds since 1970, for times that other machines read. */
  wall(): number
  /**
   * Calls back after `ms`; returns a function that stops it. With `unref` a timer does not keep the
   * process alive.
   */
  after(ms: number, callback: () => void, unref?: boolean): () => void
}

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(ms, callback, unref = false) {
    const timer = setTimeout(callback, ms)
    if (unref) timer.unref()
    return () => clearTimeout(timer)
  }
}

/** Waits `ms`. @throws AppError CANCELLED when the signal fires first. */
export function sleep(
  ms: number,
  options: { clock?: Clock; signal?: AbortSignal } = {}
): Promise<void> {
  const { clock = systemClock, signal } = options
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(cancelled('Waiting was cancelled'))
    const onabort = (): void => {
      stop()
      reject(cancelled('Waiting was cancelled'))
    }
    const stop = clock.after(ms, () => {
      signal?.removeEventListener('abort', onabort)
      resolve()
    })
    signal?.addEventListener('abort', onabort, { once: true })
  })
}

export interface DeadlineOptions {
  clock?: Clock
  signal?: AbortSignal | undefined
  /** What took too long, for the message. */
  what?: string
}

/**
 * Settles as `promise` does, or rejects when `ms` have passed or the signal fires.
 * @throws AppError TIMEOUT, or CANCELLED
 */
export function deadline<T>(
  promise: Promise<T>,
  ms: number,
  options: DeadlineOptions = {}
): Promise<T> {
  const { clock = systemClock, signal, what = 'The operation' } = options
  return new Promise((resolve, reject) => {
    const done = (): void => {
      stop()
      signal?.removeEventListener('abort', onabort)
    }
    const onabort = (): void => {
      done()
      reject(cancelled(`${what} was cancelled`))
    }
    const stop = clock.after(ms, () => {
      done()
      reject(timedOut(`${what} did not finish: ${Math.round(ms)} ms have passed`))
    })
    promise.then(
      (value) => {
        done()
        resolve(value)
      },
      (error: unknown) => {
        done()
        reject(error)
      }
    )
    if (signal?.aborted) onabort()
    else signal?.addEventListener('abort', onabort, { once: true })
  })
}
