// Writes the answer to stdout. Nothing else may write there, and if the reader leaves, the run
// ends.
import type { Writable } from 'node:stream'
import { type AppError, unavailable } from '../base/errors.ts'
import { fileReason } from '../base/files/file-error.ts'
import { EXIT } from './exit.ts'

export interface Output {
  /** Resolves when more may be written. */
  write(text: string): Promise<void>
  /** Fires when nothing more can be written: the reader of stdout went away, or `failure`. */
  readonly gone: AbortSignal
  /** Why nothing more can be written, unless the reader went away. */
  readonly failure: AppError | undefined
  end(): Promise<void>
}

export function createOutput(stdout: Writable = process.stdout): Output {
  const gone = new AbortController()
  let failure: AppError | undefined
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') {
      failure ??= unavailable(`stdout cannot be written: ${fileReason(error)}`, { cause: error })
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

/**
 * Writes an answer that is complete. Returns the exit code: 141 if the reader went away.
 * @throws AppError UNAVAILABLE if it cannot be written, e.g. on a full disk
 */
export async function print(text: string, stdout: Writable = process.stdout): Promise<number> {
  const output = createOutput(stdout)
  await output.write(text)
  await output.end()
  if (output.failure) throw output.failure
  return output.gone.aborted ? EXIT.brokenPipe : EXIT.ok
}
