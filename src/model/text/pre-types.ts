// How text is split before bytes are merged, by the `pre` type that a GGUF names: patterns of the
// originals' tokenizer.json, applied one after the other; each match becomes a piece. Knows no
// vocabularies.

export interface PreType {
  readonly patterns: readonly string[]
  /** A piece that is a token already is not split further. */
  readonly ignoreMerges?: boolean
  /** Whether text begins with BOS, if the metadata does not say. */
  readonly addBos?: boolean
  /** Whether letters are composed (NFC), as the original's normaliser does. */
  readonly nfc?: boolean
  /**
   * Pieces are characters, with U+2581 for a space and bytes for what is no token; otherwise all
   * are bytes.
   */
  readonly isCharacters?: boolean
}

const CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
const SPACES = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'
const MARKS = ' ?[^\\s\\p{L}\\p{N}]+'
const WORD = '[^\\r\\n\\p{L}\\p{N}]?\\p{L}+'
const CL100K_TAIL = `${MARKS}[\\r\\n]*|${SPACES}`
const CL100K_HEAD = `${CONTRACTION}|${WORD}`

/** Parts of words by case: capitals and letters without case, then small letters. */
const UPPER = '\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}'
const LOWER = '\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}'
const byCase = (end: string, except = ''): string => {
  const before = '[^\\r\\n\\p{L}\\p{N}]?'
  const [upper, lower] = [`[${UPPER}${except}]`, `[${LOWER}${except}]`]
  return `${before}${upper}*${lower}+${end}|${before}${upper}+${lower}*${end}`
}
const O200K_TAIL = `${MARKS}[\\r\\n/]*|${SPACES}`

const CJK = '[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+'
const DEEPSEEK3_WORD =
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|' +
  '[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|' +
  ` ?[\\p{P}\\p{S}]+[\\r\\n]*|${SPACES}`
const DEEPSEEK_CJK = '[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+'
/** Letters with case, by the Unicode version of these models. */
const CASED =
  'A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-' +
  '\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-' +
  '\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5' +
  '\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00' +
  '-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-' +
  '\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-' +
  '\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-' +
  '\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149' +
  '\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d' +
  '\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13' +
  '-\ufb17\uff21-\uff3a\uff41-\uff5a\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-' +
  '\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\u{1e900}-' +
  '\u{1e943}'

const DIGITS_THEN_GPT2: PreType = { patterns: ['\\p{N}', GPT2] }
const ONLY_GPT2: PreType = { patterns: [GPT2] }
const LLAMA3_PATTERN = `${CL100K_HEAD}|\\p{N}{1,3}|${CL100K_TAIL}`
const LLAMA3: PreType = { patterns: [LLAMA3_PATTERN], ignoreMerges: true, addBos: true }
const QWEN2: PreType = { patterns: [`${CL100K_HEAD}|\\p{N}|${CL100K_TAIL}`], nfc: true }
const QWEN35: PreType = {
  patterns: [
    `${CONTRACTION}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|` +
      ` ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${SPACES}`
  ]
}
const DEEPSEEK3: PreType = { patterns: ['\\p{N}{1,3}', CJK, DEEPSEEK3_WORD] }
const BLOOM: PreType = { patterns: [' ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+'] }
const GPT4O: PreType = {
  patterns: [`${byCase(`${CONTRACTION}?`)}|\\p{N}{1,3}|${O200K_TAIL}`]
}
const BAILING: PreType = {
  patterns: [`'(?i:[sdmt]|ll|ve|re)|${WORD}|\\p{N}|${MARKS}[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+`]
}
const CHATGLM4: PreType = { patterns: [LLAMA3_PATTERN] }
const LINES_OF_CHARACTERS: PreType = {
  patterns: ['[^\\n]+|[\\n]+'],
  isCharacters: true,
  addBos: true
}

/** By the value of `tokenizer.ggml.pre`. */
export const PRE_TYPES: ReadonlyMap<string, PreType> = new Map<string, PreType>([
  ['default', { patterns: ['[\\p{P}\\$\\+<=>\\^~\\|]+', GPT2, '\\p{N}+', '[0-9][0-9][0-9]'] }],
  ...named(ONLY_GPT2, 'gpt-2', 'phi-2', 'jina-es', 'jina-de', 'jina-v2-es', 'jina-v2-de'),
  ...named(
    ONLY_GPT2,
    'gigachat',
    'a.x-4.0',
    'mellum',
    'modern-bert',
    'jais',
    'trillion',
    'exaone4'
  ),
  ...named(ONLY_GPT2, 'granite-docling'),
  ...named({ ...ONLY_GPT2, nfc: true }, 'mpt', 'olmo'),
  ...named(DIGITS_THEN_GPT2, 'smollm', 'starcoder', 'refact', 'codeshell', 'exaone', 'minerva-7b'),
  ...named(DIGITS_THEN_GPT2, 'mellum2'),
  ['command-r', { ...DIGITS_THEN_GPT2, nfc: true }],
  ...named(LLAMA3, 'llama-bpe', 'llama3', 'llama-v3', 'falcon3', 'falcon-h1', 'pixtral'),
  ...named(LLAMA3, 'midm-2.0', 'lfm2', 'jina-v5-nano'),
  ...named({ patterns: [LLAMA3_PATTERN] }, 'dbrx', 'smaug-bpe'),
  ...named(CHATGLM4, 'glm4', 'chatglm-bpe'),
  ...named(QWEN2, 'qwen2', 'deepseek-r1-qwen', 'kormo', 'f2llmv2', 'megrez', 'stablelm2'),
  ...named(QWEN2, 'hunyuan', 'solar-open', 'grok-2'),
  ['qwen35', QWEN35],
  [
    'deepseek-llm',
    {
      patterns: [
        '[\\r\\n]',
        `\\s?[${CASED}]+`,
        '\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+',
        '(?<!\\s)\\s+$', // the original's \\s+$, tried once for each run of spaces
        DEEPSEEK_CJK,
        '\\p{N}+'
      ]
    }
  ],
  [
    'deepseek-coder',
    { patterns: ['[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', DEEPSEEK_CJK, '\\p{N}'] }
  ],
  ...named(DEEPSEEK3, 'deepseek-v3', 'hunyuan-dense', 'joyai-llm', 'hy_v4'),
  ['falcon', { patterns: ['[\\p{P}\\$\\+<=>\\^~\\|`]+', GPT2, '[0-9][0-9][0-9]'] }],
  ...named(BLOOM, 'bloom', 'poro-chat', 'gpt3-finnish'),
  ['viking', { patterns: [...BLOOM.patterns, '\\p{N}'] }],
  [
    'tekken',
    { patterns: [`${byCase('')}|\\p{N}|${O200K_TAIL}`], ignoreMerges: true, addBos: true }
  ],
  ...named(GPT4O, 'gpt-4o', 'llama4', 'kanana2', 'talkie', 'minimax-m2'),
  ...named(BAILING, 'bailingmoe', 'bailingmoe2', 'llada-moe'),
  ['seed-coder', { patterns: [`${CL100K_HEAD}|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|${SPACES}`] }],
  [
    'kimi-k2',
    {
      patterns: [
        `[\\p{Han}]+|${byCase(`${CONTRACTION}?`, '&&[^\\p{Han}]')}|` +
          `\\p{N}{1,3}|${MARKS}[\\r\\n]*|${SPACES}`
      ]
    }
  ],
  ...named(LINES_OF_CHARACTERS, 'gemma4')
])

function named(type: PreType, ...names: readonly string[]): [string, PreType][] {
  return names.map((name) => [name, type])
}
