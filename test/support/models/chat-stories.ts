// stories260K as a GGUF with a chat template, so that a program can hold conversations with it.
import { openModel } from '../../../src/model/open-model.ts'
import { writeGguf } from './gguf-writer.ts'
import { storiesGguf } from './stories-gguf.ts'
import { storiesLocation } from './stories.ts'

/** Every message is a line of its text. */
const TEMPLATE = "{% for message in messages %}{{ message.content + '\\n' }}{% endfor %}"

/** A template that tells tools and calls as Hermes and Qwen do. */
export const HERMES_TEMPLATE: string =
  '{% if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>{% endif %}' +
  '{% for message in messages %}{{ message.content }}' +
  '{% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}' +
  "{{ '\\n' }}{% endfor %}"

/** @param source of the chat template */
export async function chatStoriesBytes(source: string = TEMPLATE): Promise<Uint8Array> {
  const model = await openModel(storiesLocation)
  const { metadata, tensors } = storiesGguf(model)
  model.close()
  const template = { key: 'tokenizer.chat_template', type: 'string', value: source } as const
  return writeGguf({ metadata: [...metadata, template], tensors })
}
