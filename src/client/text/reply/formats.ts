// Which format a model's answers have, from what its files say: its own response template, or the
// marks that its chat template writes. parser.ts takes answers apart by it.
import { hasPlaceForTools } from '../../../model/text/template/told-tools.ts'
import type { Model } from '../../../model/types.ts'
import { OPENINGS } from './call-readers.ts'
import { readResponseTemplate } from './response-template.ts'
import type { CallStyle, ReplyFormat } from './types.ts'

/** How a call is forced where a model's own form of calls is no text that can be prescribed. */
export const FORCED_CALLS: ReplyFormat = {
  calls: 'hermes',
  shown: [...OPENINGS.hermes, '</tool_call>']
}
/** Pairs of marks around thoughts. */
const THOUGHTS = [
  { open: '<think>', close: '</think>' },
  { open: '[THINK]', close: '[/THINK]' }
] as const
/** Marks within calls, special tokens where a vocabulary has them. */
const WITHIN: readonly string[] = ['</tool_call>', '[ARGS]', '[CALL_ID]']

export function replyFormat(model: Pick<Model, 'chatTemplate' | 'tokenizer'>): ReplyFormat {
  const { chatTemplate = '', tokenizer } = model
  const spec = (tokenizer.config as { response_template?: unknown }).response_template
  const template = spec === undefined ? undefined : readResponseTemplate(spec)
  if (template) return { template, shown: specialsWithin(tokenizer.json, JSON.stringify(spec)) }
  const reasoning = THOUGHTS.find(
    ({ open, close }) => chatTemplate.includes(open) || chatTemplate.includes(close)
  )
  const own = styleOf(chatTemplate)
  const calls = own ?? (chatTemplate === '' ? undefined : 'hermes')
  return {
    ...(reasoning && { reasoning }),
    ...(calls && { calls }),
    // Where the template has no place for tools, they are told so anyway.
    ...(calls && !own && hasPlaceForTools(chatTemplate) && { toolsInWords: true }),
    shown: [
      ...(reasoning ? [reasoning.open, reasoning.close] : []),
      ...(calls ? [...OPENINGS[calls], ...WITHIN] : [])
    ]
  }
}

function styleOf(template: string): CallStyle | undefined {
  if (template.includes('[TOOL_CALLS]')) return 'mistral'
  if (template.includes('<tool_call>')) return 'hermes'
  const isLlama =
    template.includes('<|python_tag|>') ||
    (template.includes('<|start_header_id|>') && /["']parameters["']/.test(template))
  return isLlama ? 'llama' : undefined
}

/** Special tokens that are written out in a response template, where patterns escape them. */
function specialsWithin(json: object, spec: string): string[] {
  const plain = spec.replaceAll('\\', '')
  const added = (json as { added_tokens?: readonly { content: string; special: boolean }[] })
    .added_tokens
  return (added ?? [])
    .filter(({ content, special }) => special && plain.includes(content.replaceAll('\\', '')))
    .map(({ content }) => content)
}
