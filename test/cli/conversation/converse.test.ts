// A conversation on a terminal: what ends it, what it keeps, what its commands do.
import { expect, test } from 'bun:test'
import { PassThrough } from 'node:stream'
import { badInput, cancelled } from '../../../src/base/errors.ts'
import {
  converse,
  waitingText,
  type Answering,
  type ConverseOptions,
  type Leaving,
  type Talk
} from '../../../src/cli/conversation/converse.ts'
import { PlainLines } from '../../../src/cli/terminal/plain-lines.ts'
import { styleFor } from '../../../src/cli/terminal/style.ts'
import type { ChatMessage } from '../../../src/model/text/chat-template.ts'

/** A talk that answers with what it was asked, and can be stopped. */
class EchoTalk implements Talk {
  readonly model = 'echo'
  readonly did: string[] = []
  readonly past: ChatMessage[] = []
  open: string | undefined
  onask: (question: string, answering: Answering) => Promise<void> = async (question, { write }) =>
    write(`<${question}>`)

  about = async (): Promise<string[]> => ['echo: 5 blocks']
  unfinished = (): string | undefined => this.open
  messages = (): readonly ChatMessage[] => this.past
  reset = (): void => void this.did.push('reset')
  settings = (): string[] => ['temperature 0.7']
  keep = async (): Promise<void> => void this.did.push('keep')
  save = async (path: string): Promise<void> => void this.did.push(`save ${path}`)
  load = async (path: string): Promise<void> => void this.did.push(`load ${path}`)
  setSystem = (text: string): void => void this.did.push(`system ${text}`)

  async ask(question: string, answering: Answering): Promise<void> {
    this.did.push(`ask ${question}`)
    await this.onask(question, answering)
    this.past.push({ role: 'user', content: question }, { role: 'assistant', content: question })
  }

  async goOn(answering: Answering): Promise<void> {
    this.did.push('continue')
    this.open = undefined
    await answering.write('Because\u001b[2J')
  }

  undo(): string | undefined {
    const [asked] = this.past.splice(-2)
    return asked?.content
  }

  set(name: string, value: string): void {
    if (name === 'foo') throw badInput("There is no setting 'foo'")
    this.did.push(`set ${name}=${value}`)
  }
}

interface Told {
  readonly screen: string
  readonly answers: string
  readonly leaving: Leaving | string
}

/** Holds a conversation; each line is typed when the one before has been taken. */
async function hold(
  talk: Talk,
  typed: readonly string[],
  more: Partial<ConverseOptions> = {}
): Promise<Told> {
  const input = new PassThrough()
  const [screen, answers]: [string[], string[]] = [[], []]
  const output = (to: string[]): ConverseOptions['screen'] => ({
    write: (text) => to.push(text),
    hasCursor: false,
    columns: () => 80
  })
  const lines = new PlainLines({ input, write: (text) => screen.push(text) })
  input.end(typed.map((line) => `${line}\n`).join(''))
  const leaving = await converse({
    talk,
    lines,
    screen: output(screen),
    answers: output(answers),
    style: styleFor(false, {}),
    notes: () => [],
    signal: new AbortController().signal,
    ...more
  }).catch((error: { code: string }) => error.code)
  return { screen: screen.join(''), answers: answers.join(''), leaving }
}

test('converse() joins lines that end in a backslash or stand in quotes, and leaves at /bye', async () => {
  const talk = new EchoTalk()
  const typed = ['one\\', 'two', '"""three', '/new', 'four"""', '/bye', 'five']
  const { leaving } = await hold(talk, typed)
  expect([talk.did, leaving]).toEqual([['ask one\ntwo', 'ask three\n/new\nfour'], { kind: 'left' }])
})

test('converse() ends with its input, and writes answers alone to where answers go', async () => {
  const { screen, answers, leaving } = await hold(new EchoTalk(), ['Why?'])
  expect([answers, leaving]).toEqual(['<Why?>\n', { kind: 'left' }])
  expect(screen).toBe('echo: 5 blocks\n/help lists commands\n> \n> \n')
})

test('converse() ends at its signal, before it began, while it waits and in an answer', async () => {
  const end = new AbortController()
  const waiting = new PassThrough()
  const lines = new PlainLines({ input: waiting, write: () => {} })
  const held = hold(new EchoTalk(), [], { lines, signal: end.signal })
  end.abort()
  const talk = new EchoTalk()
  const late = new AbortController()
  talk.onask = (_question, { signal }) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(cancelled('x')))
      late.abort()
    })
  const codes = [
    await hold(new EchoTalk(), ['a'], { signal: AbortSignal.abort() }),
    await held,
    await hold(talk, ['a'], { signal: late.signal })
  ].map(({ leaving }) => leaving)
  expect(codes).toEqual(['CANCELLED', 'CANCELLED', 'CANCELLED'])
})

test('converse() goes on with an interrupted answer first, and with a stopped one when told to', async () => {
  const talk = new EchoTalk()
  talk.open = 'Why\u001b]0;x\u0007?'
  const { screen, answers } = await hold(talk, ['/continue'])
  expect(talk.did).toEqual(['continue'])
  expect(screen).toContain('> Why\uFFFD]0;x\uFFFD?\n')
  expect(screen).toContain('there is nothing to go on with\n')
  // Not on a terminal: the answer is as it came.
  expect(answers).toBe('Because\u001b[2J\n')
})

test('on a terminal an answer is made harmless and broken at words', async () => {
  const written: string[] = []
  const talk = new EchoTalk()
  talk.onask = async (_question, { write }) => {
    for (const piece of ['\u001b[2Jone two th', 'ree', ' four']) await write(piece)
  }
  const answers = {
    write: (text: string) => written.push(text),
    hasCursor: true,
    columns: () => 13
  }
  await hold(talk, ['Why?'], { answers })
  expect(written.join('')).toBe('\uFFFD[2Jone two \nthree four\n')
})

test('commands do what they say, and none of them reaches the model', async () => {
  const talk = new EchoTalk()
  const typed = [
    'one',
    '/new',
    '/system Be brief',
    '/set temperature 0.2',
    '/save a.json',
    '/load b.json',
    '/show',
    '/help'
  ]
  const { screen } = await hold(talk, typed)
  expect(talk.did).toEqual([
    'ask one',
    'reset',
    'keep',
    'system Be brief',
    'keep',
    'set temperature=0.2',
    'save a.json',
    'load b.json',
    'keep'
  ])
  expect(screen).toContain('  /retry ')
})

test('/retry asks again, /undo takes back, and both say when there is nothing', async () => {
  const talk = new EchoTalk()
  const { screen } = await hold(talk, ['/undo', 'one', '/retry', '/undo', '/retry'])
  expect(talk.did).toEqual(['keep', 'ask one', 'ask one', 'keep'])
  expect(screen).toContain('there is nothing to take back\n')
  expect(screen).toContain('taken back: one\n')
  expect(screen).toContain('there is nothing to ask again\n')
})

test('a command that there is not is told and not sent; a path is a question', async () => {
  const talk = new EchoTalk()
  const { screen } = await hold(talk, [
    '/foo',
    '/helo',
    ' /foo is a question',
    '/etc/hosts?',
    '/save'
  ])
  expect(talk.did).toEqual(['ask /foo is a question', 'ask /etc/hosts?'])
  expect(screen).toContain('error: There is no command /foo\n')
  expect(screen).toContain('/help?; a question that begins so stands behind a space\n')
  expect(screen).toContain('error: /save needs a word behind it\n')
})

test('/model ends the conversation for one with another model', async () => {
  const { leaving } = await hold(new EchoTalk(), ['/model acme/other', 'never'])
  expect(leaving).toEqual({ kind: 'model', name: 'acme/other' })
})

test('a failure of one answer, and of a command, does not end the conversation', async () => {
  const talk = new EchoTalk()
  let tries = 0
  talk.onask = async (_question, { write }) => {
    if (tries++ === 0) throw badInput('It does not fit', { hint: 'petals chat MODEL' })
    await write('fine')
  }
  const { screen, answers } = await hold(talk, ['one', '/set foo 1', 'two'])
  expect(screen).toContain('error: It does not fit\n  petals chat echo\n')
  expect(screen).toContain("error: There is no setting 'foo'\n")
  expect(answers).toBe('fine\n')
})

test('what was said last is shown of a conversation that goes on', async () => {
  const talk = new EchoTalk()
  for (const text of ['one', 'two', 'three']) {
    talk.past.push(
      { role: 'user', content: text },
      { role: 'assistant', content: `${text}!\u202e` }
    )
  }
  const { screen } = await hold(talk, [])
  expect(screen).toBe(
    'echo: 5 blocks\n/help lists commands\n> two\ntwo!\uFFFD\n\n> three\nthree!\uFFFD\n\n> \n'
  )
})

test('waitingText() says how far a long prompt is, and else for how long', () => {
  expect([
    waitingText(2, undefined),
    waitingText(2, { done: 0, total: 40 }),
    waitingText(3, { done: 512, total: 2048 }),
    waitingText(9, { done: 2048, total: 2048 })
  ]).toEqual([
    'waiting for the answer, 2 s',
    'waiting for the answer, 2 s',
    'reading: 512 of 2048 tokens, 25 %, 3 s',
    'waiting for the answer, 9 s'
  ])
})
