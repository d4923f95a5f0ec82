// What an answer is made of, and what is to be known to tell its parts from one another. Knows no
// models; formats.ts finds out which format a model's template asks for.

/** A part of an answer, in the order of its text. */
export type ReplyDelta =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'reasoning'; readonly text: string }
  /** A call begins; calls are counted from 0. */
  | {
      readonly type: 'tool-start'
      readonly index: number
      readonly id: string
      readonly name: string
    }
  /** More of a call's arguments, which together are the JSON of an object. */
  | { readonly type: 'tool-arguments'; readonly index: number; readonly text: string }
  | { readonly type: 'tool-end'; readonly index: number }

/**
 * Takes an answer's text piece by piece; no text is lost, and none is told before it is certain.
 */
export interface ReplyParser {
  push(text: string): ReplyDelta[]
  /** The text has ended. */
  end(): ReplyDelta[]
  /** Whether what was given last belongs to a thought that has not ended. */
  readonly isThinking: boolean
}

/** How calls are written: a mark, then what a reader of that kind reads. */
export type CallStyle = 'hermes' | 'llama' | 'mistral'

export interface ReplyFormat {
  /** Around what the model thinks, at the beginning of an answer. */
  readonly reasoning?: { readonly open: string; readonly close: string }
  readonly calls?: CallStyle
  /**
   * The template tells tools in a way whose calls cannot be read: they are told in words instead.
   */
  readonly toolsInWords?: boolean
  /** A model's own description of its answers, as transformers reads it. */
  readonly template?: ResponseTemplate
  /** Special tokens that must be in the text, though an answer shows no others. */
  readonly shown: readonly string[]
}

/** `response_template` of a tokenizer_config.json, checked. */
export interface ResponseTemplate {
  readonly fields: readonly ResponseField[]
}

export interface ResponseField {
  readonly name: string
  /** Absent for the text between all others. */
  readonly open?: Anchor
  readonly close?: Anchor
  readonly content: string
  readonly args: Readonly<Record<string, unknown>>
  /** What a call is made of, with `{content}` and named groups in it. */
  readonly transform: unknown
  readonly transformEach: boolean
}

/** One of several texts, or a pattern that begins with one of them, spaces before it aside. */
export interface Anchor {
  readonly literals: readonly string[]
  readonly pattern?: RegExp
}

export interface ReplyTool {
  readonly name: string
  /** A JSON schema of its arguments. */
  readonly parameters?: Readonly<Record<string, unknown>> | undefined
}

/** What readers of calls tell, in order. */
export interface CallSink {
  start(name: string, id?: string): void
  arguments(text: string): void
  end(): void
  readonly tools: ReadonlyMap<string, ReplyTool>
}

/** Reads one call; is given its text piece by piece. */
export interface OneCall {
  /** 'more': all was taken; 'failed': it is no call, and nothing was told. */
  push(text: string): OneCallResult
  /** The text has ended within it. Whether it was a call. */
  end(): boolean
}

export interface OneCallResult {
  readonly state: 'more' | 'done' | 'failed'
  /** What was not read. */
  readonly rest: string
}

/** Reads all calls behind a mark; undefined while it wants more. */
export interface CallReader {
  push(text: string): CallResult | undefined
  /** The answer has ended within it. */
  end(): CallResult
}

export interface CallResult {
  /** False for a text that is no call: `rest` is then all of it. */
  readonly isCall: boolean
  readonly rest: string
}
