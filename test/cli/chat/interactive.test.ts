// The terminal's conversation: what ends it, and what it keeps.
import { expect, test } from 'bun:test'
import { PassThrough } from 'node:stream'
import { converse, type InteractiveOptions } from '../../../src/cli/chat/interactive.ts'

function terminal(more: Partial<InteractiveOptions> = {}): {
  input: PassThrough
  options: InteractiveOptions
} {
  const input = new PassThrough()
  const output = new PassThrough()
  output.resume()
  const { signal } = new AbortController()
  const answer = (): Promise<void> => Promise.resolve()
  return { input, options: { input, output, answer, reset: () => {}, signal, ...more } }
}

const codeOf = (conversation: Promise<void>): Promise<unknown> =>
  conversation.then(
    () => 'none',
    (error: { code?: unknown }) => error.code
  )

test('converse() joins lines that end in a backslash and leaves at /exit', async () => {
  const asked: string[] = []
  const { input, options } = terminal({
    answer: async (question) => void asked.push(question)
  })
  const conversation = converse(options)
  input.write('one\\\ntwo\n/exit\nthree\n')
  await conversation
  expect(asked).toEqual(['one\ntwo'])
})

test('converse() ends at its signal while it waits for a question', async () => {
  const end = new AbortController()
  const conversation = converse(terminal({ signal: end.signal }).options)
  end.abort()
  expect(await codeOf(conversation)).toBe('CANCELLED')
})

test('converse() ends at its signal in the middle of an answer', async () => {
  const end = new AbortController()
  const { input, options } = terminal({
    signal: end.signal,
    answer: (_question, _write, signal) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => resolve())
        end.abort()
      })
  })
  const conversation = converse(options)
  input.write('question\n')
  expect(await codeOf(conversation)).toBe('CANCELLED')
})

test('converse() does not begin when it was interrupted before', async () => {
  expect(await codeOf(converse(terminal({ signal: AbortSignal.abort() }).options))).toBe(
    'CANCELLED'
  )
})

test('converse() goes on with an interrupted answer first, and with a stopped one when told to', async () => {
  const shown: string[] = []
  let unfinished: string | undefined = 'Why?'
  const { input, options } = terminal({
    unfinished: () => unfinished,
    goOn: async (write) => {
      unfinished = undefined
      write('Because\u001b[2J')
    }
  })
  const output = new PassThrough()
  output.on('data', (bytes: Buffer) => shown.push(bytes.toString()))
  const conversation = converse({ ...options, output })
  input.write('/continue\n')
  input.write('/exit\n')
  await conversation
  const text = shown.join('')
  expect(text).toContain('> Why?\nBecause\uFFFD[2J\n')
  expect(text).toContain('(nothing to go on)')
})
