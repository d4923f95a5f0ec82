// Configs and files that no family can run: refused in words, before memory is taken by what they
// claim.
import { expect, test } from 'bun:test'
import type { AppError } from '../../src/base/errors.ts'
import { openModel } from '../../src/model/open-model.ts'
import type { Family, ModelLocation } from '../../src/model/types.ts'
import { writeGguf, type GgufSpec } from '../support/models/gguf-writer.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { readFixture } from './support/fixture.ts'
import { fixtureGguf } from './support/gguf.ts'
import { randomModel, writeModel } from './support/random-model.ts'
import type { HubModel } from './reference/model.ts'
import type { Weight } from './reference/ops.ts'

const FAMILIES: readonly Family[] = [
  'llama',
  'mistral',
  'qwen2',
  'qwen3',
  'qwen3moe',
  'mixtral',
  'gemma2',
  'gemma3',
  'gpt2',
  'bloom',
  'falcon'
]

async function outcome(location: ModelLocation): Promise<{ code: string; message: string }> {
  try {
    const model = await openModel(location)
    model.close()
    return { code: 'opened', message: '' }
  } catch (error) {
    const { code, message } = error as AppError
    return { code, message }
  }
}

async function outcomeOf(model: HubModel): Promise<{ code: string; message: string }> {
  await using folder = await tempFolder()
  return await outcome(writeModel(model, folder.path))
}

function without(model: HubModel, name: string): HubModel {
  const tensors = new Map(model.tensors)
  tensors.delete(name)
  return { config: model.config, tensors }
}

for (const family of FAMILIES) {
  test(`${family}: a folder without any one of its tensors is refused`, async () => {
    const model = randomModel(family, 1)
    expect((await outcomeOf(model)).code).toBe('opened')
    const isOptional = /(q|k|v|o|gate|up|down)_proj\.bias$/
    for (const name of model.tensors.keys()) {
      if (isOptional.test(name) && family === 'llama') continue
      const { code, message } = await outcomeOf(without(model, name))
      expect([name, code, message]).toEqual([
        name,
        'CORRUPT',
        expect.stringMatching(/tensor '.+' is missing$/)
      ])
    }
  })

  test(`${family}: a folder with any one tensor of another shape is refused`, async () => {
    const model = randomModel(family, 2)
    for (const [name, { shape, values }] of model.tensors) {
      const [rows = 0, ...rest] = shape
      const width = values.length / rows
      const longer: Weight = {
        shape: [rows + 1, ...rest],
        values: new Float32Array((rows + 1) * width)
      }
      const tensors = new Map(model.tensors).set(name, longer)
      const { code } = await outcomeOf({ config: model.config, tensors })
      expect([name, code]).toEqual([name, 'CORRUPT'])
    }
  })

  test(`${family}: a tensor that the family has not is refused, not ignored`, async () => {
    const model = randomModel(family, 3)
    const name = [...model.tensors.keys()].find((each) => /\.0\..*(norm|ln_)/.test(each)) ?? ''
    const extra = name.replace(/\.weight$/, '.sinks.weight')
    const tensors = new Map(model.tensors).set(extra, { shape: [2], values: new Float32Array(2) })
    const { code, message } = await outcomeOf({ config: model.config, tensors })
    expect([code, message]).toEqual(['UNSUPPORTED', expect.stringContaining('sinks')])
  })
}

const REFUSED: readonly [Family, Record<string, unknown>, string][] = [
  ['llama', { model_type: 'mamba2' }, "'mamba2' is not known"],
  ['llama', { rope_scaling: { rope_type: 'dynamic', factor: 4 } }, "RoPE scaling 'dynamic'"],
  ['llama', { hidden_act: 'relu' }, "the activation 'relu'"],
  ['gpt2', { quantization_config: { bits: 4 } }, 'a quantised folder'],
  ['bloom', { apply_residual_connection_post_layernorm: true }, 'a stream taken after the norm'],
  ['qwen3moe', { mlp_only_layers: [0] }, 'a mixture of experts in some blocks only'],
  ['gpt2', { scale_attn_by_inverse_layer_idx: true }, 'another scale of attention'],
  [
    'gemma2',
    {
      num_hidden_layers: 3,
      layer_types: ['full_attention', 'sliding_attention', 'sliding_attention']
    },
    'this order of full and sliding attention'
  ]
]

for (const [family, change, words] of REFUSED) {
  test(`${family} with ${JSON.stringify(change)} is told apart from a broken model`, async () => {
    const model = randomModel(family, 1)
    const { code, message } = await outcomeOf({ ...model, config: { ...model.config, ...change } })
    expect([code, message]).toEqual(['UNSUPPORTED', expect.stringContaining(words)])
  })
}

const LIES: readonly [Family, Record<string, unknown>][] = [
  ['llama', { rope_scaling: { rope_type: 'linear', factor: 0 } }],
  ['llama', { rope_scaling: { rope_type: 'llama3', factor: 8 } }],
  ['llama', { head_dim: 2 ** 40, rope_scaling: { rope_type: 'linear', factor: 2 } }],
  ['mistral', { sliding_window: 0 }],
  ['mistral', { sliding_window: -3 }],
  ['gemma2', { attn_logit_softcapping: 0 }],
  ['gemma2', { query_pre_attn_scalar: -1 }],
  ['gemma2', { num_hidden_layers: 2 ** 40, layer_types: undefined }],
  ['gemma3', { rope_local_base_freq: 0 }],
  ['mixtral', { num_local_experts: 2 ** 30 }],
  ['mixtral', { num_local_experts: 4000, num_hidden_layers: 4000 }],
  ['mixtral', { num_experts_per_tok: 6 }],
  ['mixtral', { num_experts_per_tok: 0 }],
  ['qwen3moe', { moe_intermediate_size: 'wide' }],
  ['falcon', { num_kv_heads: 0, new_decoder_architecture: true }],
  ['falcon', { multi_query: 'yes' }],
  ['gpt2', { n_embd: 2 ** 60 }],
  ['bloom', { n_head: 0 }],
  ['bloom', { seq_length: 1e300 }]
]

for (const [family, change] of LIES) {
  test(`${family} with ${JSON.stringify(change)} is refused at once`, async () => {
    const model = randomModel(family, 1)
    const before = process.memoryUsage().rss
    const { code } = await outcomeOf({ ...model, config: { ...model.config, ...change } })
    expect(code).toBe('CORRUPT')
    expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 27)
  })
}

const SPOILT: Readonly<Record<string, [string, (spec: GgufSpec) => GgufSpec]>> = {
  'a stack of fewer experts': [
    'qwen3moe',
    (spec) =>
      changed(spec, 'blk.0.ffn_up_exps.weight', (shape) => [shape[0]! - 1, ...shape.slice(1)])
  ],
  'a flat stack of experts': [
    'mixtral',
    (spec) =>
      changed(spec, 'blk.0.ffn_up_exps.weight', (shape) => [shape[0]! * shape[1]!, shape[2]!])
  ],
  'more experts than it has': ['mixtral', (spec) => counted(spec, 'llama.expert_count', 5)],
  'more experts used than there are': [
    'mixtral',
    (spec) => counted(spec, 'llama.expert_used_count', 5)
  ],
  'too few RoPE factors': ['llama3', (spec) => changed(spec, 'rope_freqs.weight', () => [7])],
  'a bias of another length': ['qwen2', (spec) => changed(spec, 'blk.0.attn_q.bias', () => [16])],
  'no second norm': [
    'gemma2',
    (spec) => ({
      ...spec,
      tensors: spec.tensors.filter(({ name }) => name !== 'blk.1.post_ffw_norm.weight')
    })
  ]
}

for (const [lie, [name, change]] of Object.entries(SPOILT)) {
  test(`a GGUF of ${name} with ${lie} is refused`, async () => {
    await using folder = await tempFolder()
    const spec = fixtureGguf(readFixture(name))
    const open = async (file: GgufSpec): Promise<string> =>
      (await outcome({ kind: 'gguf', paths: [await folder.write('m.gguf', writeGguf(file))] })).code
    expect(await open(spec)).toBe('opened')
    expect(await open(change(spec))).toBe('CORRUPT')
  })
}

function changed(
  spec: GgufSpec,
  name: string,
  shape: (old: readonly number[]) => readonly number[]
): GgufSpec {
  const tensors = spec.tensors.map((tensor) => {
    if (tensor.name !== name) return tensor
    const next = shape(tensor.shape)
    const size = next.reduce((product, each) => product * each, 4)
    return { ...tensor, shape: next, bytes: tensor.bytes.subarray(0, size) }
  })
  return { ...spec, tensors }
}

function counted(spec: GgufSpec, key: string, value: number): GgufSpec {
  const rest = spec.metadata.filter((entry) => entry.key !== key)
  return { ...spec, metadata: [...rest, { key, type: 'u32', value }] }
}
