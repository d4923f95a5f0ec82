// What Codex CLI 0.171 and Claude Code 2.1 send, which were run against `petals api`, at a smaller
// size: every field that they fill, tools of kinds that only their makers' servers run, and the
// turn after a call.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { HERMES_TEMPLATE } from '../support/models/chat-stories.ts'
import { localApi, MODEL, type LocalApi } from './support/local-api.ts'

setDefaultTimeout(60_000)

let api: LocalApi

beforeAll(async () => {
  api = await localApi({ template: HERMES_TEMPLATE })
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
})

interface Event {
  type: string
  response?: { status: string; usage: object; output: { type: string; arguments?: string }[] }
  content_block?: { type: string; name?: string }
  delta?: { partial_json?: string; stop_reason?: string }
  usage?: object
}

async function events(path: string, body: object): Promise<Event[]> {
  const headers = { 'anthropic-beta': 'claude-code-20250219', 'x-api-key': 'none' }
  const response = await fetch(`${api.url}${path}`, {
    method: 'POST',
    headers,
    body: JSON.stringify(body)
  })
  expect(response.status).toBe(200)
  const lines = (await response.text()).split('\n').filter((line) => line.startsWith('data: '))
  return lines.map((line) => JSON.parse(line.slice(6)) as Event)
}

const COMMAND = {
  type: 'object',
  properties: { cmd: { enum: ['ls', 'pwd'] } },
  required: ['cmd'],
  additionalProperties: false
}

describe('Codex', () => {
  const text = (role: string, words: string): object => ({
    type: 'message',
    id: `msg_${words.length}`,
    role,
    content: [{ type: 'input_text', text: words }]
  })
  const turn = {
    model: MODEL,
    stream: true,
    store: false,
    input: [
      text('developer', 'Be precise.'),
      text('developer', '<skills_instructions>None</skills_instructions>'),
      text('user', '<environment_context><shell>bash</shell></environment_context>'),
      text('user', 'Say hello')
    ],
    tools: [
      { type: 'function', name: 'exec_command', strict: false, parameters: COMMAND },
      { type: 'namespace', name: 'agents', description: 'More', tools: [] },
      { type: 'custom', name: 'apply_patch', format: { type: 'grammar', syntax: 'lark' } },
      { type: 'web_search', external_web_access: false }
    ],
    tool_choice: 'auto',
    parallel_tool_calls: true,
    reasoning: { summary: 'auto' },
    include: ['reasoning.encrypted_content'],
    prompt_cache_key: '01a231f2',
    client_metadata: { session_id: '01a231f2' },
    turn_id: '01a231f2',
    temperature: 0,
    max_output_tokens: 40
  }

  test('has its turn, with usage at the end', async () => {
    const all = await events('/v1/responses', turn)
    expect(all[0]?.type).toBe('response.created')
    const last = all.at(-1)
    expect(last?.response?.usage).toMatchObject({ output_tokens: 40 })
  })

  test('calls a tool, and its result is read with what other servers left', async () => {
    const called = await events('/v1/responses', {
      ...turn,
      tool_choice: { type: 'function', name: 'exec_command' },
      parallel_tool_calls: false,
      max_output_tokens: 120
    })
    const [call] = called.at(-1)?.response?.output ?? []
    expect(['ls', 'pwd']).toContain((JSON.parse(call?.arguments ?? '{}') as { cmd: string }).cmd)
    const next = await events('/v1/responses', {
      ...turn,
      input: [
        ...turn.input,
        { type: 'reasoning', summary: [], encrypted_content: 'x' },
        { type: 'web_search_call', status: 'completed' },
        call,
        { type: 'function_call_output', call_id: 'c', output: 'a b c' }
      ]
    })
    expect(next.at(-1)?.response?.status).toBe('incomplete')
  })
})

describe('Claude Code', () => {
  const turn = {
    model: MODEL,
    stream: true,
    max_tokens: 32_000,
    system: [
      { type: 'text', text: 'x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=cli;' },
      { type: 'text', text: 'You are an agent.', cache_control: { type: 'ephemeral' } },
      { type: 'text', text: '\nBe brief.' }
    ],
    messages: [
      {
        role: 'user',
        content: [
          { type: 'text', text: '<system-reminder>None</system-reminder>\n\n' },
          { type: 'text', text: 'Say hello', cache_control: { type: 'ephemeral' } }
        ]
      },
      { role: 'system', content: 'Agents: none' }
    ],
    tools: [
      { name: 'Bash', description: 'Runs a command', input_schema: COMMAND },
      { type: 'web_search_20250305', name: 'web_search', max_uses: 8 }
    ],
    thinking: { type: 'adaptive' },
    output_config: { effort: 'high' },
    context_management: { edits: [{ type: 'clear_thinking_20251015', keep: 'all' }] },
    metadata: { user_id: '{"session_id":"b44f2430"}' },
    temperature: 0
  }
  const forced = {
    ...turn,
    tool_choice: { type: 'tool', name: 'Bash', disable_parallel_tool_use: true }
  }

  test('calls a tool, gives its result and is answered', async () => {
    const called = await events('/v1/messages?beta=true', forced)
    expect(called.find(({ type }) => type === 'content_block_start')).toMatchObject({
      content_block: { type: 'tool_use', name: 'Bash' }
    })
    expect(called.findLast(({ type }) => type === 'message_delta')?.delta).toMatchObject({
      stop_reason: 'tool_use'
    })
    const input = JSON.parse(
      called.map(({ delta }) => delta?.partial_json ?? '').join('')
    ) as object
    const id = 'toolu_1'
    const answered = await events('/v1/messages?beta=true', {
      ...turn,
      max_tokens: 8,
      messages: [
        ...turn.messages,
        { role: 'assistant', content: [{ type: 'tool_use', id, name: 'Bash', input }] },
        {
          role: 'user',
          content: [{ type: 'tool_result', tool_use_id: id, content: 'a b', is_error: false }]
        }
      ]
    })
    expect(answered.at(-1)?.type).toBe('message_stop')
  })

  test('has the same prompt though the first line of its instructions differs', async () => {
    const count = async (system: object[]): Promise<unknown> => {
      const body = JSON.stringify({ ...turn, system })
      const response = await fetch(`${api.url}/v1/messages/count_tokens`, { method: 'POST', body })
      return response.json()
    }
    const [billing, ...rest] = turn.system
    expect(await count(turn.system)).toEqual(await count(rest))
    expect(await count([billing!])).not.toEqual(await count(rest))
  })
})
