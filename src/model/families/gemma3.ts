// Gemma 3: norms of queries and keys; five blocks with a window and their own RoPE base, then one
// without. Of multimodal models only the text part is used.
import type { JsonObject } from '../formats/json-file.ts'
import { KEY_NORM, QUERY_NORM, type FamilyFacts, type Part } from './facts.ts'
import type { GgufFacts } from './gguf-facts.ts'
import { GEMMA_BLOCK, GEMMA_OUTER, gemmaFromGguf, gemmaFromHub } from './gemma.ts'
import { alternatingWindow } from './hub-config.ts'
import { HubFacts } from './hub-facts.ts'

const EVERY = 6
const LOCAL_THETA = 10_000
const BLOCK: readonly Part[] = [...GEMMA_BLOCK, QUERY_NORM, KEY_NORM]

/** Values that a config.json may omit. */
const DEFAULTS = {
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  vocab_size: 262_208,
  max_position_embeddings: 131_072,
  rms_norm_eps: 1e-6,
  query_pre_attn_scalar: 256,
  sliding_window: 4096,
  rope_theta: 1_000_000
}

export const GEMMA3: FamilyFacts = {
  family: 'gemma3',
  architectures: ['gemma3'],
  modelTypes: ['gemma3', 'gemma3_text'],
  outer: GEMMA_OUTER,
  block: () => BLOCK,
  hubName(name) {
    if (/^(model\.)?(vision_tower|multi_modal_projector)\./.test(name)) return undefined
    return name.replace(/^language_model\./, '').replace(/^model\.language_model\./, 'model.')
  },
  fromHub({ json, name }) {
    const text = objectOf(json['text_config'] ?? json)
    // Newer configs have RoPE parameters for each kind of block.
    const rope = objectOf(text['rope_parameters'])
    const kinds =
      rope['full_attention'] === undefined ? {} : { rope_parameters: rope['full_attention'] }
    const hub = new HubFacts({ ...DEFAULTS, ...text, ...kinds }, name)
    const local = new HubFacts(objectOf(rope['sliding_attention']), name).optional('rope_theta')
    const config = gemmaFromHub(hub, 'gemma3')
    const every = hub.optional('sliding_window_pattern', '_sliding_window_pattern') ?? EVERY
    const window = alternatingWindow(hub, config.blockCount, (block) =>
      (block + 1) % every === 0 ? 'full_attention' : 'sliding_attention'
    )
    const ropeLocalTheta = local ?? hub.optional('rope_local_base_freq') ?? LOCAL_THETA
    return { ...config, ...window, ropeLocalTheta: Math.fround(ropeLocalTheta) }
  },
  fromGguf(gguf) {
    const config = gemmaFromGguf(gguf, 'gemma3')
    checkPattern(gguf)
    const ropeLocalTheta = gguf.optional('rope.freq_base_swa') ?? LOCAL_THETA
    return config.window === undefined ? config : { ...config, fullEvery: EVERY, ropeLocalTheta }
  }
}

/** Newer files say which blocks have a window: as a period, or one by one. */
function checkPattern(gguf: GgufFacts): void {
  const key = 'attention.sliding_window_pattern'
  gguf.ignore(key)
  const list = gguf.metadata.numbers(`${gguf.architecture}.${key}`) ?? [EVERY]
  const isOurs = (value: number, block: number): boolean =>
    (value !== 0) === ((block + 1) % EVERY !== 0)
  if (list.length === 1 ? list[0] === EVERY : list.every(isOurs)) return
  throw gguf.refuse('this order of full and sliding attention')
}

function objectOf(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null ? (value as JsonObject) : {}
}
