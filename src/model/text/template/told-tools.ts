// Tools for models whose chat template has no place for them: described in the instructions, called
// between tags as Hermes and Qwen do, and answered in the user's turn. chat-template.ts uses it; an
// answer is taken apart by client/text/reply/formats.ts.
import type { ChatMessage, ChatToolCall } from './chat-message.ts'

/** Whether a template says anything about tools itself. */
export function hasPlaceForTools(template: string): boolean {
  return /\btools\b/.test(template)
}

/** The messages with the tools told, and calls and results in words. */
export function withToldTools(
  messages: readonly ChatMessage[],
  tools: readonly object[],
  template: string
): ChatMessage[] {
  const plain = joined(messages.map(inWords))
  if (tools.length === 0) return plain
  const words = describe(tools)
  const [first, ...rest] = plain
  if (first?.role === 'system')
    return [{ role: 'system', content: `${first.content}\n\n${words}` }, ...rest]
  if (takesSystem(template)) return [{ role: 'system', content: words }, ...plain]
  const at = plain.findIndex(({ role }) => role === 'user')
  return plain.map((message, i) =>
    i === at ? { ...message, content: `${words}\n\n${message.content}` } : message
  )
}

function describe(tools: readonly object[]): string {
  const list = tools.map((tool) => JSON.stringify(tool)).join('\n')
  return (
    `You may call functions. They are described within <tools></tools>:\n<tools>\n${list}\n</tools>\n\n` +
    'To call one, write its name and arguments as JSON within <tool_call></tool_call>:\n' +
    '<tool_call>\n{"name": <function-name>, "arguments": <arguments-object>}\n</tool_call>'
  )
}

function takesSystem(template: string): boolean {
  return /["']system["']/.test(template) && !/system role (?:is )?not supported/i.test(template)
}

function inWords(message: ChatMessage): ChatMessage {
  const { role, content, tool_calls: calls = [] } = message
  if (role === 'tool') {
    return { role: 'user', content: `<tool_response>\n${content}\n</tool_response>` }
  }
  if (calls.length === 0) return message
  return {
    role,
    content: [content, ...calls.map(callText)].filter((text) => text !== '').join('\n')
  }
}

function callText({ function: { name, arguments: given } }: ChatToolCall): string {
  const json = typeof given === 'string' ? given || '{}' : JSON.stringify(given)
  return `<tool_call>\n{"name": ${JSON.stringify(name)}, "arguments": ${json}}\n</tool_call>`
}

/** Several results are one turn, as are results and the question behind them. */
function joined(messages: readonly ChatMessage[]): ChatMessage[] {
  const made: ChatMessage[] = []
  for (const message of messages) {
    const last = made.at(-1)
    const isResult = last?.role === 'user' && last.content.endsWith('</tool_response>')
    if (last && isResult && message.role === 'user') {
      made[made.length - 1] = { ...last, content: `${last.content}\n${message.content}` }
    } else made.push(message)
  }
  return made
}
