// stories260K as a GGUF with a chat template, so that a program can hold conversations with it.
import { openModel } from '../../../src/model/open-model.ts'
import { writeGguf } from './gguf-writer.ts'
import { storiesGguf } from './stories-gguf.ts'
import { storiesLocation } from './stories.ts'

/** Every message is a line of its text. */
const TEMPLATE = "{% for message in messages %}{{ message.content + '\\n' }}{% endfor %}"

export async function chatStoriesBytes(): Promise<Uint8Array> {
  const model = await openModel(storiesLocation)
  const { metadata, tensors } = storiesGguf(model)
  model.close()
  const template = { key: 'tokenizer.chat_template', type: 'string', value: TEMPLATE } as const
  return writeGguf({ metadata: [...metadata, template], tensors })
}
