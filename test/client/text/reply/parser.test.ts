// Answers taken apart: each one whole, letter by letter and in two pieces at every place, with the
// same parts each time.
import { expect, test } from 'bun:test'
import { createReplyParser } from '../../../../src/client/text/reply/parser.ts'
import type { ReplyDelta, ReplyFormat, ReplyTool } from '../../../../src/client/text/reply/types.ts'

const THINK = { open: '<think>', close: '</think>' }
const HERMES: ReplyFormat = { calls: 'hermes', reasoning: THINK, shown: [] }
const LLAMA: ReplyFormat = { calls: 'llama', shown: ['<|python_tag|>'] }
const MISTRAL: ReplyFormat = { calls: 'mistral', shown: ['[TOOL_CALLS]'] }

const TOOLS: readonly ReplyTool[] = [
  {
    name: 'weather',
    parameters: {
      type: 'object',
      properties: {
        city: { type: 'string' },
        days: { type: 'integer' },
        where: { type: 'array' },
        warm: { anyOf: [{ type: 'boolean' }, { type: 'null' }] }
      }
    }
  },
  { name: 'now' }
]

/** Parts with pieces of one kind joined; calls with their arguments as a value. */
type Part =
  | { text: string }
  | { reasoning: string }
  | { call: string; id: string; index: number; arguments: unknown; isEnded: boolean }

function partsOf(
  pieces: readonly string[],
  format: ReplyFormat,
  tools = TOOLS,
  prompt = ''
): Part[] {
  let ids = 0
  const parser = createReplyParser({ format, tools, prompt, newId: () => `id${ids++}` })
  const deltas: ReplyDelta[] = pieces.flatMap((piece) => parser.push(piece))
  deltas.push(...parser.end())
  const parts: Part[] = []
  const written: string[] = []
  for (const delta of deltas) {
    const last = parts.at(-1)
    if (delta.type === 'text' || delta.type === 'reasoning') {
      expect(delta.text).not.toBe('')
      if (last && delta.type in last) Object.assign(last, join(last, delta))
      else parts.push(delta.type === 'text' ? { text: delta.text } : { reasoning: delta.text })
      continue
    }
    if (delta.type === 'tool-start') {
      const { name, id, index } = delta
      parts.push({ call: name, id, index, arguments: undefined, isEnded: false })
      written[index] = ''
      continue
    }
    if (!last || !('call' in last)) throw new Error('arguments without a call')
    expect(delta.index).toBe(last.index)
    if (delta.type === 'tool-arguments') written[delta.index] += delta.text
    else {
      last.isEnded = true
      last.arguments = JSON.parse(written[delta.index] ?? '')
    }
  }
  return parts
}

function join(part: Part, delta: { type: string; text: string }): object {
  const before = (part as unknown as Record<string, string>)[delta.type] ?? ''
  return { [delta.type]: before + delta.text }
}

const call = (index: number, name: string, values: unknown, id = `id${index}`): Part => ({
  call: name,
  id,
  index,
  arguments: values,
  isEnded: true
})

const CASES: readonly [what: string, format: ReplyFormat, text: string, parts: Part[]][] = [
  ['text', HERMES, 'Hello, <b>you</b> < tool >.\n', [{ text: 'Hello, <b>you</b> < tool >.\n' }]],
  ['spaces at the beginning', HERMES, '  Hi', [{ text: '  Hi' }]],
  [
    'a call between tags',
    HERMES,
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris", "days": 3}}\n</tool_call>',
    [call(0, 'weather', { city: 'Paris', days: 3 })]
  ],
  [
    'text, then two calls',
    HERMES,
    'I look.\n\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>\n<tool_call>\n{"arguments": {"city": "Å {\\"x\\"} </tool_call>"}, "name": "weather"}\n</tool_call>\n',
    [{ text: 'I look.' }, call(0, 'now', {}), call(1, 'weather', { city: 'Å {"x"} </tool_call>' })]
  ],
  [
    'text behind a call',
    HERMES,
    '<tool_call>{"name": "now"}</tool_call>\nDone.',
    [call(0, 'now', {}), { text: 'Done.' }]
  ],
  [
    'two calls within one tag',
    HERMES,
    '<tool_call>{"name":"now","arguments":{}}\n{"name":"now","arguments":null}</tool_call>',
    [call(0, 'now', {}), call(1, 'now', {})]
  ],
  [
    'arguments as a text of JSON',
    HERMES,
    '<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"Rome\\"}"}</tool_call>',
    [call(0, 'weather', { city: 'Rome' })]
  ],
  [
    'a line end within a string',
    HERMES,
    '<tool_call>{"name": "weather", "arguments": {"city": "a\nb\tc"}}</tool_call>',
    [call(0, 'weather', { city: 'a\nb\tc' })]
  ],
  [
    'a call whose tag is not closed',
    HERMES,
    '<tool_call>{"name": "now", "arguments": {"a": [1, {"b": "}"}]}}',
    [call(0, 'now', { a: [1, { b: '}' }] })]
  ],
  [
    'a mark that is text',
    HERMES,
    'The tag <tool_call> opens a call, <tool_call>{} does not, <tool_ca',
    [{ text: 'The tag <tool_call> opens a call, <tool_call>{} does not, <tool_ca' }]
  ],
  [
    'a mark that is text before one that is none',
    HERMES,
    'Like <tool_call>x: <tool_call>{"name": "now"}</tool_call>',
    [{ text: 'Like <tool_call>x:' }, call(0, 'now', {})]
  ],
  [
    'a call in XML',
    HERMES,
    'Yes.\n<tool_call>\n<function=weather>\n<parameter=city>\n New York\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=where>["a"]</parameter>\n<parameter=warm>\nTrue\n</parameter>\n<parameter=other>\n5\n</parameter>\n</function>\n</tool_call>',
    [
      { text: 'Yes.' },
      call(0, 'weather', { city: ' New York', days: 3, where: ['a'], warm: true, other: '5' })
    ]
  ],
  [
    'a call in XML without arguments',
    HERMES,
    '<tool_call>\n<function=now>\n</function>\n</tool_call>',
    [call(0, 'now', {})]
  ],
  [
    'a thought, then text',
    HERMES,
    '<think>\nLet me see: a < b.\n\n</think>\n\nIt is so.',
    [{ reasoning: 'Let me see: a < b.' }, { text: 'It is so.' }]
  ],
  [
    'a thought, then a call',
    HERMES,
    '<think>\nhm\n</think>\n\n<tool_call>{"name": "now", "arguments": {}}</tool_call>',
    [{ reasoning: 'hm' }, call(0, 'now', {})]
  ],
  ['an empty thought', HERMES, '<think>\n\n</think>\n\nHi', [{ text: 'Hi' }]],
  ['a thought that is cut', HERMES, '<think>I was </thi', [{ reasoning: 'I was </thi' }]],
  [
    'a tag of thoughts in a text',
    HERMES,
    'Write <think> first.',
    [{ text: 'Write <think> first.' }]
  ],
  [
    'a call alone',
    LLAMA,
    '{"name": "weather", "parameters": {"city": "Oslo"}}',
    [call(0, 'weather', { city: 'Oslo' })]
  ],
  [
    'calls alone, one after the other',
    LLAMA,
    '{"name": "now", "parameters": {}}; {"name": "weather", "parameters": {"days": 1}}',
    [call(0, 'now', {}), call(1, 'weather', { days: 1 })]
  ],
  [
    'a call as OpenAI writes it',
    LLAMA,
    '{"type": "function", "function": {"name": "weather", "parameters": {"city": "Oslo"}}}',
    [call(0, 'weather', { city: 'Oslo' })]
  ],
  [
    'JSON that is an answer',
    LLAMA,
    '{"name": "Ada", "parameters": {"age": 36}}',
    [{ text: '{"name": "Ada", "parameters": {"age": 36}}' }]
  ],
  ['more JSON that is an answer', LLAMA, ' {"a": 1}\n', [{ text: ' {"a": 1}\n' }]],
  ['a name without arguments', LLAMA, '{"name": "now"}', [{ text: '{"name": "now"}' }]],
  [
    'a call behind the mark',
    LLAMA,
    'Well.<|python_tag|>{"name": "now", "parameters": {}}',
    [{ text: 'Well.' }, call(0, 'now', {})]
  ],
  [
    'a call as code behind the mark',
    LLAMA,
    '<|python_tag|>weather.call(city="It\'s", days=2)',
    [call(0, 'weather', { city: "It's", days: 2 })]
  ],
  [
    'code behind the mark',
    LLAMA,
    '<|python_tag|>print("hi")',
    [{ text: '<|python_tag|>print("hi")' }]
  ],
  [
    'a list of calls as code',
    LLAMA,
    '[weather(city="Bonn", warm=None), now()]',
    [call(0, 'weather', { city: 'Bonn', warm: null }), call(1, 'now', {})]
  ],
  ['a list that is an answer', LLAMA, '[1, 2]', [{ text: '[1, 2]' }]],
  ['a list of other code', LLAMA, '[f(x=1)]', [{ text: '[f(x=1)]' }]],
  [
    'a list of calls',
    MISTRAL,
    '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Nice"}, "id": "abcdefghi"}, {"name": "now", "arguments": {}}]',
    [call(0, 'weather', { city: 'Nice' }, 'id0'), call(1, 'now', {})]
  ],
  [
    'a list of calls with ids first',
    MISTRAL,
    '[TOOL_CALLS][{"id": "abcdefghi", "name": "now", "arguments": {}}]',
    [call(0, 'now', {}, 'abcdefghi')]
  ],
  [
    'named calls',
    MISTRAL,
    'So:[TOOL_CALLS]weather[ARGS]{"city": "Nice"}[TOOL_CALLS]now[CALL_ID]abc123def[ARGS]{}',
    [{ text: 'So:' }, call(0, 'weather', { city: 'Nice' }), call(1, 'now', {}, 'abc123def')]
  ],
  ['a mark and text', MISTRAL, '[TOOL_CALLS] is a mark', [{ text: '[TOOL_CALLS] is a mark' }]]
]

for (const [what, format, text, parts] of CASES) {
  test(`createReplyParser() reads ${what}, however it is cut`, () => {
    expect(partsOf([text], format)).toEqual(parts)
    expect(partsOf([...text], format)).toEqual(parts)
    for (let at = 1; at < text.length; at++) {
      expect(partsOf([text.slice(0, at), text.slice(at)], format)).toEqual(parts)
    }
  })
}

test('a thought that the prompt opened is one from the first character on', () => {
  const parts = [{ reasoning: 'so' }, { text: 'Yes' }]
  expect(
    partsOf([...'so\n</think>\n\nYes'], HERMES, TOOLS, '<|im_start|>assistant\n<think>\n')
  ).toEqual(parts)
})

test('marks of calls are text where no tools were given', () => {
  const text = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
  expect(partsOf([...text], HERMES, [])).toEqual([{ text }])
})

test('arguments are told as they are written, and text as it is certain', () => {
  const parser = createReplyParser({ format: HERMES, tools: TOOLS, newId: () => 'a' })
  expect(parser.push('Let me')).toEqual([{ type: 'text', text: 'Let me' }])
  expect(parser.push(' look.\n<tool')).toEqual([{ type: 'text', text: ' look.' }])
  expect(parser.push('_call>{"name": "weather", "argu')).toEqual([])
  expect(parser.push('ments": {"ci')).toEqual([
    { type: 'tool-start', index: 0, id: 'a', name: 'weather' },
    { type: 'tool-arguments', index: 0, text: '{"ci' }
  ])
  expect(parser.push('ty": "Paris"')).toEqual([
    { type: 'tool-arguments', index: 0, text: 'ty": "Paris"' }
  ])
  expect(parser.push('}}')).toEqual([
    { type: 'tool-arguments', index: 0, text: '}' },
    { type: 'tool-end', index: 0 }
  ])
  expect(parser.push('</tool_call>')).toEqual([])
  expect(parser.end()).toEqual([])
})

test('a call that is cut is ended as it stands', () => {
  const parser = createReplyParser({ format: HERMES, tools: TOOLS, newId: () => 'a' })
  parser.push('<tool_call>{"name": "weather", "arguments": {"city": "Pa')
  expect(parser.end()).toEqual([{ type: 'tool-end', index: 0 }])
})

test('a closing mark that the end cuts off is no text', () => {
  const call = '{"name": "now", "arguments": {}}'
  const cuts: readonly [ReplyFormat, string, string][] = [
    [HERMES, `<tool_call>${call}\n`, '</tool_call>'],
    [MISTRAL, `[TOOL_CALLS][${call}`, ', ']
  ]
  for (const [format, text, mark] of cuts) {
    for (let length = 0; length < mark.length; length++) {
      const parts = partsOf([text, mark.slice(0, length)], format)
      expect(parts).toEqual([{ call: 'now', id: 'id0', index: 0, arguments: {}, isEnded: true }])
    }
  }
  // What is no mark stands.
  expect(partsOf([`<tool_call>${call}</tool_cat`], HERMES).at(-1)).toEqual({ text: '</tool_cat' })
})
