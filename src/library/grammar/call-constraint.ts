// The constraint under which an answer is nothing but calls of tools, as a model's format writes
// them. Knows no tokens.
import { unsupported } from '../../base/errors.ts'
import type { ReplyFormat, ReplyTool } from '../../client/text/reply/types.ts'
import type { Constraint } from './constraint.ts'

/** Calls in one answer, where several are welcome. */
const MOST_CALLS = 8

export interface CallConstraintOptions {
  /** One of them is called, at least once. */
  readonly tools: readonly ReplyTool[]
  /** Several calls in one answer. */
  readonly parallel: boolean
}

/** @throws AppError UNSUPPORTED for a format whose calls cannot be forced */
export function callConstraint(format: ReplyFormat, options: CallConstraintOptions): Constraint {
  const { tools, parallel } = options
  switch (format.calls) {
    case 'hermes': {
      const call = sequence(
        mark('<tool_call>'),
        text('\n'),
        body(tools, 'arguments'),
        text('\n'),
        mark('</tool_call>')
      )
      return several(call, text('\n'), parallel)
    }
    case 'mistral': {
      const call = body(tools, 'arguments')
      return sequence(
        mark('[TOOL_CALLS]'),
        text('['),
        several(call, text(', '), parallel),
        text(']')
      )
    }
    case 'llama':
      // Llama 3 has no several calls in one answer.
      return body(tools, 'parameters')
    default:
      throw unsupported('This model writes calls in a form that cannot be forced', {
        advice: "Leave tool_choice at 'auto'"
      })
  }
}

function body(tools: readonly ReplyTool[], key: 'arguments' | 'parameters'): Constraint {
  return {
    kind: 'any',
    parts: tools.map(({ name, parameters = { type: 'object' } }) =>
      sequence(
        text(`{"name": ${JSON.stringify(name)}, "${key}": `),
        { kind: 'schema', schema: parameters },
        text('}')
      )
    )
  }
}

function several(call: Constraint, between: Constraint, parallel: boolean): Constraint {
  if (!parallel) return call
  let all = call
  for (let i = 1; i < MOST_CALLS; i++) {
    all = { kind: 'any', parts: [call, sequence(call, between, all)] }
  }
  return all
}

function sequence(...parts: readonly Constraint[]): Constraint {
  return { kind: 'sequence', parts }
}

function text(plain: string): Constraint {
  return { kind: 'choice', choices: [plain] }
}

function mark(plain: string): Constraint {
  return { kind: 'mark', text: plain }
}
