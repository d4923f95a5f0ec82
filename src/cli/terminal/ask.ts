// A question on the terminal that is answered in a line. Knows no command.
import { createInterface } from 'node:readline'
import { cancelled } from '../../base/errors.ts'

/** Whether somebody can be asked: what is typed comes in, and the question is seen. */
export function canAsk(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY
}

/**
 * The line that is typed behind the question; undefined for Ctrl-D.
 * @throws AppError CANCELLED for Ctrl-C, and when the signal fires
 */
export async function ask(question: string, signal: AbortSignal): Promise<string | undefined> {
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  const ended = Promise.withResolvers<string | undefined>()
  const interrupt = (): void => {
    process.stderr.write('\n')
    ended.reject(cancelled('The question was not answered'))
  }
  lines.on('SIGINT', interrupt)
  lines.on('close', () => {
    process.stderr.write('\n')
    ended.resolve(undefined)
  })
  signal.addEventListener('abort', interrupt, { once: true })
  try {
    lines.once('line', ended.resolve)
    lines.setPrompt(question)
    lines.prompt()
    return (await ended.promise)?.trim()
  } finally {
    signal.removeEventListener('abort', interrupt)
    lines.removeAllListeners('close')
    lines.close()
  }
}
