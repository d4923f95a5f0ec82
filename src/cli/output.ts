// The answer's way to stdout: nothing else may write there, and a reader that leaves ends the run.
import type { Writable } from 'node:stream'

export interface Output {
  /** Resolves when more may be written. */
  write(text: string): Promise<void>
  /** Fires when the reader of stdout went away. */
  readonly gone: AbortSignal
  end(): Promise<void>
}

export function createOutput(stdout: Writable = process.stdout): Output {
  const gone = new AbortController()
  stdout.on('error', () => gone.abort())
  const drained = (): Promise<void> =>
    new Promise((resolve) => {
      if (gone.signal.aborted) return resolve()
      gone.signal.addEventListener('abort', () => resolve(), { once: true })
      stdout.once('drain', () => resolve())
    })
  return {
    gone: gone.signal,
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
