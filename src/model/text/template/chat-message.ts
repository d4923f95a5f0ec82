// What is said in a chat, in the words of OpenAI's interface, which templates share.

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant' | 'tool' | (string & {})
  readonly content: string
  /** What the model thought before it answered. */
  readonly reasoning_content?: string
  /** Of an assistant's message: what it called. */
  readonly tool_calls?: readonly ChatToolCall[]
  /** Of a tool's message: the call that it answers, and the tool's name. */
  readonly tool_call_id?: string
  readonly name?: string
}

export interface ChatToolCall {
  readonly id?: string
  readonly type?: 'function'
  readonly function: {
    readonly name: string
    /** An object, or its JSON. */
    readonly arguments: unknown
  }
}
