// A model's own description of its answers: the same parts as PyPI's transformers finds
// (scripts/prove/make-reply-fixtures.py), however the answer is cut, and none of a hostile one.
import { expect, test } from 'bun:test'
import { replyFormat } from '../../../../src/client/text/reply/formats.ts'
import { createReplyParser } from '../../../../src/client/text/reply/parser.ts'
import { readResponseTemplate } from '../../../../src/client/text/reply/response-template.ts'
import type { ReplyTool } from '../../../../src/client/text/reply/types.ts'
import fixtures from '../../../fixtures/replies.json'
import { chatModel } from '../../../support/models/chat-model.ts'

const TOOLS: readonly ReplyTool[] = fixtures.tools.map(({ function: tool }) => tool)
const TEMPLATES: Readonly<Record<string, unknown>> = fixtures.templates

/** An answer as a message has it. */
function messageOf(template: unknown, pieces: readonly string[], prompt: string): object {
  const read = readResponseTemplate(template)
  if (!read) throw new Error('The template is not read')
  const format = { template: read, shown: [] }
  const parser = createReplyParser({ format, tools: TOOLS, prompt, newId: () => 'id' })
  const deltas = [...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()]
  const joined = (type: 'text' | 'reasoning' | 'tool-arguments', index?: number): string =>
    deltas
      .map((delta) =>
        delta.type === type && (!('index' in delta) || delta.index === index) ? delta.text : ''
      )
      .join('')
  const calls = deltas.filter((delta) => delta.type === 'tool-start')
  return {
    text: joined('text').trim(),
    reasoning: joined('reasoning'),
    calls: calls.map(({ name, index }) => ({
      name,
      arguments: JSON.parse(joined('tool-arguments', index)) as unknown
    }))
  }
}

interface Message {
  content?: string
  reasoning_content?: string
  thinking?: string
  tool_calls?: { function: { name: string; arguments: unknown } }[]
}

for (const { template, prompt, text, message } of fixtures.answers) {
  test(`'${template}' finds of ${JSON.stringify(text.slice(0, 32))} what transformers does`, () => {
    const {
      content,
      reasoning_content: reasoning,
      thinking,
      tool_calls: calls
    } = message as Message
    const expected = {
      text: content ?? '',
      reasoning: reasoning ?? thinking ?? '',
      calls: (calls ?? []).map(({ function: call }) => call)
    }
    const spec = TEMPLATES[template]
    expect(messageOf(spec, [text], prompt)).toEqual(expected)
    expect(messageOf(spec, [...text], prompt)).toEqual(expected)
    for (let at = 1; at < text.length; at++) {
      expect(messageOf(spec, [text.slice(0, at), text.slice(at)], prompt)).toEqual(expected)
    }
  })
}

test('a call that is none, or is cut, stands as the text that it is', () => {
  const spec = TEMPLATES['json between tags']
  for (const text of ['<tool_call>nothing</tool_call>', '<tool_call>{"name": "wea']) {
    expect(messageOf(spec, [...text], '')).toEqual({ text, reasoning: '', calls: [] })
  }
})

const field = (fields: object): object => ({
  start_anchor: '<A>',
  fields: { content: {}, x: fields }
})

for (const [what, spec] of Object.entries({
  'a later version': { ...field({ open: '<x>' }), version: 2 },
  'no fields': { fields: {} },
  'a pattern that would run for years': field({ open_pattern: '<x>(a+)+b' }),
  'a pattern of values that would': field({
    open: '<x>',
    content: 'xml-inline',
    content_args: { tag_pattern: '(?P<key>(a|a)*)b' }
  }),
  'a pattern without a beginning': field({ open_pattern: '\\w+' }),
  'an empty mark': field({ open: '' }),
  'a content that nobody knows': field({ open: '<x>', content: 'yaml' }),
  'two fields for what lies between': { fields: { content: {}, text: {} } }
})) {
  test(`a response template with ${what} is none`, () => {
    expect(readResponseTemplate(spec)).toBeUndefined()
  })
}

test('replyFormat() takes the response template, else what the chat template writes', () => {
  const hermes = '{{ "<tool_call>" }}{{ "</think>" }}'
  expect(replyFormat(chatModel(hermes))).toMatchObject({
    calls: 'hermes',
    reasoning: { open: '<think>', close: '</think>' }
  })
  expect(replyFormat(chatModel('{{ "[TOOL_CALLS]" }}')).calls).toBe('mistral')
  expect(replyFormat(chatModel('{{ "<|python_tag|>" }}')).calls).toBe('llama')
  expect(replyFormat(chatModel('{{ messages }}')).calls).toBe('hermes')
  // Calls in a form of its own cannot be read: they are asked for in words.
  expect(replyFormat(chatModel('{{ tools }}'))).toMatchObject({
    calls: 'hermes',
    toolsInWords: true
  })
  expect(replyFormat(chatModel('{{ messages }}')).toolsInWords).toBeUndefined()
  expect(replyFormat(chatModel(''))).toEqual({ shown: [] })
  const model = chatModel(hermes, ['<bos>', '<|tool_call>', '<tool_call|>', '<|turn>'])
  const config = { response_template: TEMPLATES['marks of its own'] }
  const format = replyFormat({ ...model, tokenizer: { ...model.tokenizer, config } })
  expect(format.template?.fields.map(({ name }) => name)).toEqual([
    'thinking',
    'tool_calls',
    'content'
  ])
  expect(format.shown).toEqual(['<|tool_call>', '<tool_call|>', '<|turn>'])
})
