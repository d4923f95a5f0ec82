// The terminal's conversation: reads a line, streams the answer, keeps the session open.
// Ctrl-C stops an answer; at the prompt it ends the conversation, as Ctrl-D and /exit do.
import { createInterface, type Interface } from 'node:readline'
import { cancelled, toAppError } from '../../base/errors.ts'
import { errorText } from '../exit.ts'
import { terminalText } from '../../base/terminal-text.ts'

export interface InteractiveOptions {
  input: NodeJS.ReadableStream
  output: NodeJS.WritableStream
  /** Streams an answer into `write`; stops at the signal. */
  answer: (question: string, write: (text: string) => void, signal: AbortSignal) => Promise<void>
  /** The question whose answer was interrupted, if any: such an answer is gone on with at once. */
  unfinished?: () => string | undefined
  /** Streams the whole of an interrupted answer; stops at the signal. */
  goOn?: (write: (text: string) => void, signal: AbortSignal) => Promise<void>
  /** Forgets the conversation. */
  reset: () => void
  /** Ends the conversation: SIGTERM, or a Ctrl-C from before it began. */
  signal: AbortSignal
}

const HELP = `/new forgets the conversation, /exit leaves, Ctrl-C stops an answer, /continue goes on with one,
\\ at a line's end goes on with the line
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
  const answer = async (streaming: Streaming): Promise<void> => {
    running = new AbortController()
    await turn(options, lines, streaming, running.signal)
    running = undefined
  }
  const goOn = async (): Promise<void> => {
    if (!options.goOn || options.unfinished?.() === undefined) output.write('(nothing to go on)\n')
    else await answer(options.goOn)
  }
  // From here on, so that what is typed during an answer is not lost.
  const typed = lines[Symbol.asyncIterator]()
  const interrupted = options.unfinished?.()
  if (interrupted !== undefined) {
    output.write(`> ${interrupted}\n`)
    await goOn()
  }
  if (!signal.aborted) lines.prompt()
  let pending = ''
  for await (const line of typed) {
    if (line.endsWith('\\')) {
      pending += `${line.slice(0, -1)}\n`
      continue
    }
    const question = (pending + line).trim()
    pending = ''
    if (question === '/exit' || question === '/quit') break
    if (question === '/new') options.reset()
    else if (question === '/help') output.write(HELP)
    else if (question === '/continue') await goOn()
    else if (question !== '') {
      await answer((write, stopped) => options.answer(question, write, stopped))
    }
    if (!signal.aborted) lines.prompt()
  }
  signal.removeEventListener('abort', onabort)
  lines.close()
  if (signal.aborted) throw cancelled('The conversation was ended')
}

type Streaming = (write: (text: string) => void, signal: AbortSignal) => Promise<void>

async function turn(
  options: InteractiveOptions,
  lines: Interface,
  streaming: Streaming,
  signal: AbortSignal
): Promise<void> {
  const { output } = options
  try {
    await streaming((text) => void output.write(terminalText(text)), signal)
  } catch (thrown) {
    const error = toAppError(thrown)
    if (error.code === 'CANCELLED') output.write('\n(stopped)')
    else process.stderr.write(`\n${errorText(error)}`)
  }
  output.write('\n\n')
  if (!options.signal.aborted) lines.resume()
}
