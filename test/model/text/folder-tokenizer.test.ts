// Tokenizers of hub folders: what is special, where a text begins and an answer ends, and layouts
// without a tokenizer.json.
import { expect, test } from 'bun:test'
import { encodeChat } from '../../../src/model/text/chat-ids.ts'
import { folderChatTemplate, folderTokenizer } from '../../../src/model/text/folder-tokenizer.ts'
import { createTokenizer } from '../../../src/model/text/tokenizer.ts'
import type { Model, TokenizerSpec } from '../../../src/model/types.ts'
import { tempFolder, type TempFolder } from '../../support/temp-folder.ts'

const LETTERS = [...'abcxyz <>/|_[]endIimstS\u2581'].filter(
  (each, i, all) => all.indexOf(each) === i
)
const TEXTS = ['<unk>', '<s>', '</s>', '<|im_end|>', ...LETTERS]
const VOCAB = Object.fromEntries(TEXTS.map((text, id) => [text, id]))
const [UNK, BOS, EOS, IM_END] = [0, 1, 2, 3]

interface Parts {
  special?: boolean
  template?: boolean
  config?: object
  model?: object
  json?: object
}

async function specOf(folder: TempFolder, parts: Parts = {}): Promise<TokenizerSpec> {
  const { special = true, template = false, config = {}, model = {}, json = {} } = parts
  const added = [UNK, BOS, EOS, IM_END].map((id) => ({
    id,
    content: TEXTS[id] ?? '',
    special,
    normalized: false
  }))
  const processor = {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: { '<s>': { id: '<s>', ids: [BOS], tokens: ['<s>'] } }
  }
  const whole = {
    version: '1.0',
    added_tokens: added,
    normalizer: null,
    pre_tokenizer: null,
    post_processor: template ? processor : null,
    decoder: null,
    model: { type: 'BPE', vocab: VOCAB, merges: [], unk_token: '<unk>', fuse_unk: false },
    ...json
  }
  await folder.write('tokenizer.json', JSON.stringify(whole))
  await folder.write('tokenizer_config.json', JSON.stringify(config))
  return folderTokenizer(folder.path, model as never)
}

test.each([true, false])(
  'control tokens with "special": %p are special all the same',
  async (special) => {
    await using folder = await tempFolder()
    const spec = await specOf(folder, {
      special,
      config: { bos_token: '<s>', eos_token: { content: '</s>' }, unk_token: '<unk>' }
    })
    const tokenizer = createTokenizer(spec)
    expect(tokenizer.specials).toEqual(['<unk>', '<s>', '</s>', '<|im_end|>'])
    expect(spec.eosIds).toEqual([EOS, IM_END])
    const typed = tokenizer.encode('a</s><|im_end|>b')
    expect(typed.filter((id) => id <= IM_END)).toEqual([])
    expect(tokenizer.encode('<|im_end|>', { parseSpecial: true })).toEqual([IM_END])
  }
)

test('an unknown character beside a special token is the unknown token', async () => {
  await using folder = await tempFolder()
  const tokenizer = createTokenizer(await specOf(folder))
  const ids = tokenizer.encode('a</s>\u6f22')
  expect([ids[0], ids.at(-1), ids.length]).toEqual([TEXTS.indexOf('a'), UNK, 6])
  expect(tokenizer.decode(ids)).toContain('a')
})

test.each([
  ['nothing says so', {}, false],
  ['the processing says so', { template: true }, true],
  ['only add_bos_token says so', { config: { add_bos_token: true, bos_token: '<s>' } }, true],
  [
    'it is said of a BOS that only config.json names',
    {
      config: { add_bos_token: true },
      model: { bos_token_id: BOS }
    },
    true
  ],
  ['it is said that it is not', { template: true, config: { add_bos_token: false } }, false]
] as const)('a text begins with BOS, or not, where %s', async (_, parts, expected) => {
  await using folder = await tempFolder()
  const spec = await specOf(folder, parts)
  expect(spec.addBos).toBe(expected)
  if (!expected) return
  const tokenizer = createTokenizer(spec)
  const options = { addSpecial: true, parseSpecial: true }
  const ids = [BOS, TEXTS.indexOf('a')]
  expect([tokenizer.encode('a', options), tokenizer.encode('<s>a', options)]).toEqual([ids, ids])
})

test('a special token’s text in a message changes nothing about the rest', async () => {
  await using folder = await tempFolder()
  const metaspace = { type: 'Metaspace', replacement: '\u2581', prepend_scheme: 'first' }
  const spec = await specOf(folder, { json: { pre_tokenizer: metaspace } })
  const tokenizer = createTokenizer(spec)
  const model = {
    config: { name: 'a model', contextLength: 1000 },
    tokenizer: spec,
    chatTemplate: '<s>{{ messages[0].content }}<|im_end|>x'
  } as unknown as Model
  const ids = (content: string): number[] =>
    encodeChat(model, tokenizer, [{ role: 'user', content }])
  const letters = (text: string): number[] => [...text].map((each) => TEXTS.indexOf(each))
  expect(ids('a<//>b')).toEqual([BOS, ...letters('a<//>b'), IM_END, ...letters('x')])
  expect(ids('a</s>b')).toEqual([BOS, ...letters('a</s>b'), IM_END, ...letters('x')])
})

test('a chat that is too long is refused before it is encoded', async () => {
  await using folder = await tempFolder()
  const spec = await specOf(folder)
  const model = {
    config: { name: 'a model', contextLength: 1000 },
    tokenizer: spec,
    chatTemplate: '{{ messages[0].content }}'
  } as unknown as Model
  for (const content of ['a'.repeat(15_000_000), '</s>'.repeat(4_000_000)]) {
    expect(() => encodeChat(model, createTokenizer(spec), [{ role: 'user', content }])).toThrow(
      expect.objectContaining({ code: 'BAD_INPUT', message: expect.stringContaining('too long') })
    )
  }
})

test('vocab.json and merges.txt are a tokenizer', async () => {
  await using folder = await tempFolder()
  const texts = ['<|endoftext|>', 'a', 'b', '\u0120', 'ab', '\u0120ab']
  const vocab = Object.fromEntries(texts.map((text, id) => [text, id]))
  await folder.write('vocab.json', JSON.stringify(vocab))
  await folder.write('merges.txt', '#version: 0.2\na b\n\u0120 ab\n')
  const spec = folderTokenizer(folder.path, { eos_token_id: 0 })
  const tokenizer = createTokenizer(spec)
  expect(tokenizer.encode('ab ab')).toEqual([4, 5])
  expect(tokenizer.decode([4, 5, 0])).toBe('ab ab')
  expect([tokenizer.specials, spec.eosIds]).toEqual([['<|endoftext|>'], [0]])
})

test.each([
  ['tokenizer.model', 'UNSUPPORTED', 'tokenizer.model only'],
  ['README.md', 'NOT_FOUND', 'has no tokenizer']
])('a folder with no tokenizer but %s is refused by what is missing', async (name, code, words) => {
  await using folder = await tempFolder()
  await folder.write(name, 'x')
  expect(() => folderTokenizer(folder.path, {})).toThrow(
    expect.objectContaining({
      code,
      message: expect.stringContaining(words),
      hint: expect.stringContaining('save_pretrained')
    })
  )
})

test('a template may lie in chat_template.json', async () => {
  await using folder = await tempFolder()
  await folder.write('chat_template.json', JSON.stringify({ chat_template: 'T' }))
  expect(folderChatTemplate(folder.path)).toBe('T')
})
