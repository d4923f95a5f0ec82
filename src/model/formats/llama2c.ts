// Opens llama2.c v0 checkpoints: seven int32 counts, then float32 tensors in a fixed order. The
// files contain no names and no magic number, so the size must match the counts to the byte.
import { basename } from 'node:path'
import { corrupt } from '../../base/errors.ts'
import { createModel } from '../create-model.ts'
import { checkConfig } from '../families-check.ts'
import { llama2cTokenizer } from '../text/llama2c-tokenizer.ts'
import { openMappedFile } from './mapped-file.ts'
import { createTensorStore, type TensorEntry } from './tensor-store.ts'
import type { Model, ModelConfig, ModelLocation } from '../types.ts'

const HEADER_BYTES = 28

/** `location.paths` are the checkpoint and its tokenizer. @throws AppError NOT_FOUND, CORRUPT */
export function openLlama2c(location: ModelLocation): Model {
  const [checkpoint, vocabulary] = location.paths
  if (checkpoint === undefined || vocabulary === undefined) {
    throw corrupt('A llama2.c model cannot be opened: it needs a checkpoint and a tokenizer')
  }
  const file = openMappedFile(checkpoint)
  try {
    if (file.sizeBytes < HEADER_BYTES) throw corrupt(`'${checkpoint}' is no llama2.c checkpoint`)
    const { buffer, byteOffset } = file.bytes(0, HEADER_BYTES)
    const config = parseHeader(new DataView(buffer, byteOffset, HEADER_BYTES), checkpoint)
    const entries: TensorEntry[] = []
    let offset = HEADER_BYTES
    for (const { name, shape, heads } of layout(config)) {
      const sizeBytes = shape.reduce((product, size) => product * size, 4)
      if (name !== '') {
        entries.push({
          info: { name, type: 'F32', shape, sizeBytes },
          file,
          offset,
          order: heads ? { kind: 'interleaved', heads } : undefined
        })
      }
      offset += sizeBytes
    }
    if (offset !== file.sizeBytes) {
      throw corrupt(
        `'${checkpoint}' is no llama2.c checkpoint: it has ${file.sizeBytes} bytes, its counts ask for ${offset}`
      )
    }
    return createModel({
      config,
      location,
      tensors: createTensorStore(entries, [file]),
      tokenizer: () => llama2cTokenizer(vocabulary, config.vocabSize),
      chatTemplate: () => undefined
    })
  } catch (error) {
    file.close()
    throw error
  }
}

function parseHeader(view: DataView, path: string): ModelConfig {
  const at = (index: number): number => view.getInt32(index * 4, true)
  const hiddenSize = at(0)
  const headCount = at(3)
  return checkConfig({
    family: 'llama',
    name: basename(path, '.bin'),
    hiddenSize,
    ffnSize: at(1),
    blockCount: at(2),
    headCount,
    kvHeadCount: at(4),
    headDim: hiddenSize / headCount,
    vocabSize: Math.abs(at(5)), // negative: the head is a matrix of its own
    contextLength: at(6),
    ropeTheta: 10_000,
    rmsEps: Math.fround(1e-5),
    tiedEmbedding: at(5) > 0
  })
}

/** Tensors in file order; those without a name are skipped. */
function* layout(c: ModelConfig): Generator<{ name: string; shape: number[]; heads?: number }> {
  const q = c.headCount * c.headDim
  const kv = c.kvHeadCount * c.headDim
  const perBlock = function* (
    hub: string,
    shape: number[],
    heads = 0
  ): Generator<{ name: string; shape: number[]; heads: number }> {
    for (let i = 0; i < c.blockCount; i++) {
      yield { name: `model.layers.${i}.${hub}.weight`, shape, heads }
    }
  }
  yield { name: 'model.embed_tokens.weight', shape: [c.vocabSize, c.hiddenSize] }
  yield* perBlock('input_layernorm', [c.hiddenSize])
  yield* perBlock('self_attn.q_proj', [q, c.hiddenSize], c.headCount)
  yield* perBlock('self_attn.k_proj', [kv, c.hiddenSize], c.kvHeadCount)
  yield* perBlock('self_attn.v_proj', [kv, c.hiddenSize])
  yield* perBlock('self_attn.o_proj', [c.hiddenSize, q])
  yield* perBlock('post_attention_layernorm', [c.hiddenSize])
  yield* perBlock('mlp.gate_proj', [c.ffnSize, c.hiddenSize])
  yield* perBlock('mlp.down_proj', [c.hiddenSize, c.ffnSize])
  yield* perBlock('mlp.up_proj', [c.ffnSize, c.hiddenSize])
  yield { name: 'model.norm.weight', shape: [c.hiddenSize] }
  yield { name: '', shape: [c.contextLength, c.headDim] } // RoPE tables, recomputed by the graph
  if (!c.tiedEmbedding) yield { name: 'lm_head.weight', shape: [c.vocabSize, c.hiddenSize] }
}
