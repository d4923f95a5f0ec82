// The answer's way to stdout: nothing else may write there, and a reader that leaves ends the run.
import type { Writable } from 'node:stream'
import { type AppError, unavailable } from '../base/errors.ts'

export interface Output {
  /** Resolves when more may be written. */
  write(text: string): Promise<void>
  /** Fires when nothing more can be written: the reader of stdout went away, or `failure`. */
  readonly gone: AbortSignal
  /** Why nothing more can be written, when it is not the reader's going. */
  readonly failure: AppError | undefined
  end(): Promise<void>
}

export function createOutput(stdout: Writable = process.stdout): Output {
  const gone = new AbortController()
  let failure: AppError | undefined
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') {
      failure ??= unavailable(`The answer cannot be written: ${error.message}`, { cause: error })
    }
    gone.abort()
  })
  const drained = (): Promise<void> =>
    new Promise((resolve) => {
      if (gone.signal.aborted) return resolve()
      gone.signal.addEventListener('abort', () => resolve(), { once: true })
      stdout.once('drain', () => resolve())
    })
  return {
    gone: gone.signal,
    get failure() {
      return failure
    },
    async write(text) {
      if (text === '' || gone.signal.aborted) return
      if (!stdout.write(text)) await drained()
    },
    end: () =>
      new Promise((resolve) => {
        if (gone.signal.aborted) return resolve()
        gone.signal.addEventListener('abort', () => resolve(), { once: true })
        stdout.write('', () => resolve())
      })
  }
}
