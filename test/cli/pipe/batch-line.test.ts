import { expect, test } from 'bun:test'
import { toAppError } from '../../../src/base/errors.ts'
import { idOf, parseBatchLine } from '../../../src/cli/pipe/batch-line.ts'
import { textLines, type TextLine } from '../../../src/cli/pipe/text-lines.ts'

const user = (content: string): object => ({ role: 'user', content })
const system = (content: string): object => ({ role: 'system', content })

function refusal(line: string, template?: string): string {
  try {
    return JSON.stringify(parseBatchLine(line, { template }))
  } catch (error) {
    const { code, message } = toAppError(error)
    return `${code}: ${message}`
  }
}

test('a line is a text, an object with a prompt, or messages', () => {
  expect(parseBatchLine('"Hi"')).toEqual({ id: undefined, messages: [user('Hi')] as never })
  expect(parseBatchLine('{"id": 7, "prompt": "Hi"}', { system: 'Be short' })).toEqual({
    id: 7,
    messages: [system('Be short'), user('Hi')] as never
  })
  const own = '{"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]}'
  const { messages } = parseBatchLine(own, { system: 'Be short' })
  expect(messages).toEqual([system('x'), user('y')] as never)
})

test('with a template a line gives its fields', () => {
  const template = 'Greet {{name}}'
  expect(parseBatchLine('{"name": "Ann", "id": "a"}', { template })).toEqual({
    id: 'a',
    messages: [user('Greet Ann')] as never
  })
  expect(parseBatchLine('"Ann"', { template: '{{input}}!' }).messages).toEqual([
    user('Ann!')
  ] as never)
  expect(refusal('{"nam": 1}', template)).toContain("BAD_INPUT: The template wants 'name'")
})

test('what asks nothing is refused, and still told by its name', () => {
  expect(refusal('Hi')).toBe('BAD_INPUT: The line is no JSON')
  expect(['{}', '{"messages": []}'].map((line) => refusal(line))).toEqual(
    Array.from({ length: 2 }, () => 'BAD_INPUT: The line asks nothing')
  )
  expect(refusal('[1]')).toBe('BAD_INPUT: The line is neither a text nor an object')
  expect(refusal('" "')).toBe('BAD_INPUT: The prompt is empty')
  expect(refusal('{"messages": [{"role": "user"}]}')).toContain('A message has no role')
  const unknown = '{"messages": [{"role": "usr", "content": "a"}]}'
  expect(refusal(unknown)).toContain("role cannot be 'usr'")
  expect(['{"id": "a"}', 'null', 'no', '{"id": {}}'].map(idOf)).toEqual([
    'a',
    undefined,
    undefined,
    undefined
  ])
})

test('textLines() numbers lines that chunks cut anywhere, and leaves blank ones out', async () => {
  const bytes = new TextEncoder().encode('é\n\n b\r\nlast')
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (const byte of bytes) yield Uint8Array.of(byte)
  }
  const lines: TextLine[] = []
  for await (const line of textLines(chunks())) lines.push(line)
  expect(lines.map(({ number, text }) => [number, text.trim()])).toEqual([
    [1, 'é'],
    [3, 'b'],
    [4, 'last']
  ])
})

test('textLines() refuses what is no text', async () => {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield Uint8Array.of(0x61, 0x0a, 0xff, 0x0a)
  }
  const read = async (): Promise<void> => {
    for await (const _ of textLines(chunks()));
  }
  await expect(read()).rejects.toThrow('Line 1 or one behind it cannot be read: it is not UTF-8')
})
