// Which chat template a model without one is given, and what --chat-template may name.
import { expect, test } from 'bun:test'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  guessTemplate,
  readTemplate,
  withTemplate
} from '../../../src/model/text/choose-template.ts'
import { KNOWN_TEMPLATES } from '../../../src/model/text/template/known-templates.ts'
import { openModel } from '../../../src/model/open-model.ts'
import type { Model } from '../../../src/model/types.ts'
import { chatModel } from '../../support/models/chat-model.ts'
import { storiesLocation } from '../../support/models/stories.ts'
import { tempFolder } from '../../support/temp-folder.ts'

const model = (tokens: readonly string[], path = 'x.gguf', name = 'LLaMA v2') => {
  const { config, tokenizer } = chatModel('', tokens)
  const location: Model['location'] = { kind: 'gguf', paths: [path] }
  return { tokenizer, location, config: { ...config, name } }
}

for (const [what, given, name, template] of [
  ['tokens of ChatML', model(['<|im_start|>', '<|im_end|>']), 'x.gguf', 'chatml'],
  ['tokens of Llama 3', model(['<|start_header_id|>', '<|eot_id|>']), 'x.gguf', 'llama3'],
  ['tokens of Gemma', model(['<start_of_turn>', '<end_of_turn>']), 'x.gguf', 'gemma'],
  ['tokens of Mistral', model(['[INST]', '[AVAILABLE_TOOLS]']), 'x.gguf', 'mistral-tools'],
  ['the alias', model([]), 'llama2-70b', 'llama2'],
  ['the repository', model([]), 'TheBloke/Llama-2-7B-Chat-GGUF', 'llama2'],
  ["the file's name", model([], '/a/llama-2-13b-chat.Q4_K_M.gguf'), 'm.gguf', 'llama2'],
  ["the model's own name", model([], 'a', 'Mixtral 8x7B Instruct v0.1'), 'm', 'mistral'],
  ['Zephyr, though it is a Mistral', model([], 'zephyr-7b-beta.gguf'), 'm', 'zephyr'],
  ['TinyLlama', model([], 'tinyllama-1.1b-chat-v1.0.gguf'), 'm', 'zephyr'],
  ['Falcon', model([]), 'falcon-40b', 'falcon'],
  ['a base model', model([], 'llama-2-7b.gguf'), 'm', undefined],
  ['one token of a pair', model(['<|im_end|>']), 'm', undefined]
] as const) {
  test(`guessTemplate() takes ${template ?? 'none'} for ${what}`, () => {
    expect(guessTemplate(given, name)).toBe(template)
  })
}

test("withTemplate() gives one of ours for want of the files' own, and says so once", async () => {
  const told: string[] = []
  const opened = await openModel(storiesLocation)
  const onguess = (name: string): unknown => told.push(name)
  const chat = withTemplate(opened, { name: 'llama2-7b', onguess })
  expect([chat.chatTemplate, chat.chatTemplate]).toEqual(
    Array.from({ length: 2 }, () => KNOWN_TEMPLATES.get('llama2'))
  )
  expect(told).toEqual(['llama2'])
  expect(chat.config).toBe(opened.config)
  expect(withTemplate(opened, { name: 'stories260k', onguess }).chatTemplate).toBeUndefined()
  expect(withTemplate(opened, { name: 'llama2-7b', template: 'x', onguess }).chatTemplate).toBe('x')
  expect(told).toEqual(['llama2'])
  chat.close()
})

test('readTemplate() reads a name or a file, and refuses others by what there is', async () => {
  await using temp = await tempFolder()
  const folder = temp.path
  const file = join(folder, 'my.jinja')
  writeFileSync(file, '{{ messages }}')
  expect(readTemplate('gemma')).toBe(KNOWN_TEMPLATES.get('gemma') ?? '')
  expect(readTemplate(file)).toBe('{{ messages }}')
  writeFileSync(file, 'x'.repeat(300_000))
  for (const bad of [file, folder, join(folder, 'none'), 'gema']) {
    expect(() => readTemplate(bad)).toThrow(
      expect.objectContaining({ code: 'BAD_INPUT', hint: expect.stringContaining('chatml') })
    )
  }
})
