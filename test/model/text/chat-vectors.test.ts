// Chats rendered as PyPI's transformers renders them (scripts/prove/make-chat-fixtures.py), tools,
// documents, thoughts and calls included.
import { expect, test } from 'bun:test'
import { renderChat, type ChatMessage } from '../../../src/model/text/chat-template.ts'
import { KNOWN_TEMPLATES } from '../../../src/model/text/template/known-templates.ts'
import fixtures from '../../fixtures/chats.json'
import { chatModel } from '../../support/models/chat-model.ts'

interface Case {
  template: string
  messages: ChatMessage[]
  text: string
  tools?: object[]
  documents?: object[]
  variables?: Record<string, unknown>
  addGenerationPrompt?: boolean
}

const TEMPLATES: Readonly<Record<string, string>> = fixtures.templates
const CASES = fixtures.cases as unknown as Case[]

for (const [i, { template, messages, text, ...options }] of CASES.entries()) {
  test(`chat ${i} by '${template}' renders as transformers does`, () => {
    const source = KNOWN_TEMPLATES.get(template) ?? TEMPLATES[template] ?? ''
    const model = chatModel(source, ['<s>', '</s>'])
    expect(renderChat(model, messages, options)).toBe(text)
  })
}

const CALL = { id: 'call_0123456789abc', function: { name: 'now', arguments: '{"a": 1}' } }
const CALLING: readonly ChatMessage[] = [
  { role: 'assistant', content: '', tool_calls: [CALL] },
  { role: 'tool', content: 'x', tool_call_id: CALL.id }
]

test("arguments that a client sends as JSON are the template's object, or its text", () => {
  const asObject = '{{ messages[0].tool_calls[0].function.arguments | tojson }}'
  expect(renderChat(chatModel(asObject), CALLING)).toBe('{"a": 1}')
  const asText =
    "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ '<' + c.function.arguments + '>' }}{% endfor %}{% endfor %}"
  expect(renderChat(chatModel(asText), CALLING)).toBe('<{"a": 1}>')
})

test('ids of calls are nine letters and digits where the template wants such', () => {
  const template =
    '{% for m in messages %}{% for c in m.tool_calls or [] %}{% if c.id | length != 9 %}{{ raise_exception("length 9!") }}{% endif %}{{ c.id }} {% endfor %}{{ m.tool_call_id }}{% endfor %}'
  expect(renderChat(chatModel(template), CALLING)).toBe('456789abc 456789abc')
})
