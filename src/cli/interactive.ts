// The terminal's conversation: reads a line, streams the answer, keeps the session open.
// Ctrl-C stops an answer; at the prompt it ends the conversation, as Ctrl-D and /exit do.
import { createInterface, type Interface } from 'node:readline'
import { cancelled, toAppError } from '../base/errors.ts'
import { errorText } from './exit.ts'

export interface InteractiveOptions {
  input: NodeJS.ReadableStream
  output: NodeJS.WritableStream
  /** Streams an answer into `write`; stops at the signal. */
  answer: (question: string, write: (text: string) => void, signal: AbortSignal) => Promise<void>
  /** Forgets the conversation. */
  reset: () => void
  /** Ends the conversation: SIGTERM, or a Ctrl-C from before it began. */
  signal: AbortSignal
}

const HELP = `/new forgets the conversation, /exit leaves, Ctrl-C stops an answer, \\ at a line's end goes on
`

/** Resolves when the person leaves. */
export async function converse(options: InteractiveOptions): Promise<void> {
  const { input, output, signal } = options
  if (signal.aborted) throw cancelled('The conversation was ended')
  const lines = createInterface({ input, output, prompt: '> ', historySize: 200 })
  let running: AbortController | undefined
  lines.on('SIGINT', () => {
    if (running) running.abort()
    else lines.close()
  })
  const onabort = (): void => {
    running?.abort()
    lines.close()
  }
  signal.addEventListener('abort', onabort, { once: true })
  output.write(HELP)
  lines.prompt()
  let pending = ''
  for await (const line of lines) {
    if (line.endsWith('\\')) {
      pending += `${line.slice(0, -1)}\n`
      continue
    }
    const question = (pending + line).trim()
    pending = ''
    if (question === '/exit' || question === '/quit') break
    if (question === '/new') options.reset()
    else if (question === '/help') output.write(HELP)
    else if (question !== '') {
      running = new AbortController()
      await turn(options, lines, question, running.signal)
      running = undefined
    }
    if (!signal.aborted) lines.prompt()
  }
  signal.removeEventListener('abort', onabort)
  lines.close()
  if (signal.aborted) throw cancelled('The conversation was ended')
}

async function turn(
  options: InteractiveOptions,
  lines: Interface,
  question: string,
  signal: AbortSignal
): Promise<void> {
  const { output } = options
  try {
    await options.answer(question, (text) => void output.write(text), signal)
  } catch (thrown) {
    const error = toAppError(thrown)
    if (error.code === 'CANCELLED') output.write('\n(stopped)')
    else process.stderr.write(`\n${errorText(error, false)}`)
  }
  output.write('\n\n')
  if (!options.signal.aborted) lines.resume()
}
