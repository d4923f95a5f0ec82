// Chats with tools by templates that have no place for them: told, called and answered in words.
import { expect, test } from 'bun:test'
import { type ChatMessage, renderChat } from '../../../src/model/text/chat-template.ts'
import { chatModel } from '../../support/models/chat-model.ts'

const TURNS = '{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}'
const WITH_SYSTEM = `{# 'system' #}${TURNS}`
const TOOLS = [{ type: 'function', function: { name: 'now', parameters: {} } }]
const TOLD = `You may call functions. They are described within <tools></tools>:
<tools>
{"type":"function","function":{"name":"now","parameters":{}}}
</tools>

To call one, write its name and arguments as JSON within <tool_call></tool_call>:
<tool_call>
{"name": <function-name>, "arguments": <arguments-object>}
</tool_call>`

const user: ChatMessage = { role: 'user', content: 'Hi' }
const system: ChatMessage = { role: 'system', content: 'Be brief.' }
const call = { id: 'a', function: { name: 'now', arguments: '{"a": 1}' } }
const calling: ChatMessage = { role: 'assistant', content: '', tool_calls: [call, call] }
const result: ChatMessage = { role: 'tool', content: 'noon', tool_call_id: 'a' }

const CASES: readonly [what: string, template: string, messages: ChatMessage[], text: string][] = [
  ['in the instructions', TURNS, [system, user], `<system>Be brief.\n\n${TOLD}</><user>Hi</>`],
  ['as the instructions', WITH_SYSTEM, [user], `<system>${TOLD}</><user>Hi</>`],
  ['in the question', TURNS, [user], `<user>${TOLD}\n\nHi</>`],
  [
    'with calls and results',
    WITH_SYSTEM,
    [user, calling, result, result, user],
    `<system>${TOLD}</><user>Hi</><assistant>${'<tool_call>\n{"name": "now", "arguments": {"a": 1}}\n</tool_call>\n'
      .repeat(2)
      .trimEnd()}</><user>${'<tool_response>\nnoon\n</tool_response>\n'.repeat(2)}Hi</>`
  ]
]

for (const [what, template, messages, text] of CASES) {
  test(`tools are told ${what} where the template has no place for them`, () => {
    expect(renderChat(chatModel(template), messages, { tools: TOOLS })).toBe(text)
  })
}

test('calls of before are told in words though no tools are given now', () => {
  expect(renderChat(chatModel(TURNS), [user, calling, result])).toContain(
    '<user><tool_response>\nnoon\n</tool_response></>'
  )
  const own = `${TURNS}{% for m in messages %}{{ m.tool_calls | length if m.tool_calls }}{% endfor %}`
  expect(renderChat(chatModel(own), [user, calling])).toBe('<user>Hi</><assistant></>2')
})

test('a chat without tools is rendered as it is', () => {
  expect(renderChat(chatModel(TURNS), [system, user])).toBe('<system>Be brief.</><user>Hi</>')
})
