// The parts that graphs of all families are put together from: norms, linear layers, attention, MLP.
// Knows onnxruntime's fused operators; families say which parts in which order.
import type { ModelConfig } from '../../model/types.ts'
import type { MatrixForm } from '../quantise/form.ts'
import { float, MICROSOFT, type GraphBuilder, type Value } from './builder.ts'

/** A linear layer of a block: its form is decided, its weights lie under `name`. */
export interface LinearPart {
  readonly name: string
  readonly rows: number
  readonly columns: number
  readonly form: MatrixForm
}

/** What the parts of one block are built in. */
export interface BlockScope {
  readonly builder: GraphBuilder
  readonly config: ModelConfig
  /** Which block of the model. */
  readonly block: number
  /** 0 float activations, 4 int8 activations. */
  readonly accuracy: number
  readonly linear: (name: string) => readonly LinearPart[]
}

/** The residual stream between blocks: a sum that the next norm takes in one operator. */
export interface Stream {
  readonly residual: Value
  readonly branch?: Value
}

/** Canonical name of a block's tensor. */
export function tensorName(block: number, part: string): string {
  return `model.layers.${block}.${part}.weight`
}

/** The stream's norm and the stream itself, summed. */
export function norm(
  scope: BlockScope,
  stream: Stream,
  part: string
): { normed: Value; residual: Value } {
  const { builder, config, block } = scope
  const gamma = builder.weight(tensorName(block, part), 'f32', [config.hiddenSize])
  return normWith(builder, stream, gamma, config.rmsEps)
}

/** The same with a weight that is already there. */
export function normWith(
  builder: GraphBuilder,
  stream: Stream,
  gamma: Value,
  epsilon: number
): { normed: Value; residual: Value } {
  const { residual, branch } = stream
  if (branch === undefined) {
    const normed = builder.node('SimplifiedLayerNormalization', [residual, gamma], {
      attributes: { epsilon: float(epsilon), axis: -1 }
    })
    return { normed, residual }
  }
  const outputs = [builder.fresh('normed'), '', '', builder.fresh('residual')] as const
  builder.nodes('SkipSimplifiedLayerNormalization', [branch, residual, gamma], {
    domain: MICROSOFT,
    attributes: { epsilon: float(epsilon) },
    outputs
  })
  return { normed: outputs[0], residual: outputs[3] }
}

/** x (1, count, columns) times the layer's matrix: (1, count, rows). */
export function linear(scope: BlockScope, x: Value, name: string): Value {
  return linearWith(scope.builder, scope.linear(name), x, scope.accuracy)
}

/** The same for layers that lie outside of a block; several parts are laid side by side. */
export function linearWith(
  builder: GraphBuilder,
  parts: readonly LinearPart[],
  x: Value,
  accuracy: number
): Value {
  const products = parts.map((part) => product(builder, part, x, accuracy))
  const [only] = products
  if (only !== undefined && products.length === 1) return only
  return builder.node('Concat', products, { attributes: { axis: 2 } })
}

function product(builder: GraphBuilder, part: LinearPart, x: Value, accuracy: number): Value {
  const { name, rows, columns, form } = part
  if (form.kind === 'float') {
    const weight = builder.weight(name, 'f32', [rows, columns])
    return transposedProduct(builder, x, weight)
  }
  const count = Math.ceil(columns / form.block)
  const values = builder.weight(`${name}.values`, 'u8', [rows, count, (form.block * form.bits) / 8])
  const scales = builder.weight(`${name}.scales`, 'f32', [rows * count])
  const scaled = builder.node('MatMulNBits', [x, values, scales], {
    domain: MICROSOFT,
    attributes: {
      K: columns,
      N: rows,
      bits: form.bits,
      block_size: form.block,
      accuracy_level: accuracy
    }
  })
  if (!form.offsets) return scaled
  const offsets = builder.weight(`${name}.offsets`, 'f32', [rows, count])
  const sums = blockSums(builder, x, count, form.block)
  return builder.node('Add', [scaled, transposedProduct(builder, sums, offsets)])
}

/** x times a float matrix (rows, columns). */
function transposedProduct(builder: GraphBuilder, x: Value, weight: Value): Value {
  return builder.node('FusedMatMul', [x, weight], { domain: MICROSOFT, attributes: { transB: 1 } })
}

/** Sums of x over each block of columns: what a block's offset is multiplied with. */
function blockSums(builder: GraphBuilder, x: Value, count: number, block: number): Value {
  const shape = constantIntegers(builder, `shape.${count}.${block}`, [0, 0, count, block])
  const axis = constantIntegers(builder, 'axis.last', [-1])
  const grouped = builder.node('Reshape', [x, shape])
  return builder.node('ReduceSum', [grouped, axis], { attributes: { keepdims: 0 } })
}

function constantIntegers(builder: GraphBuilder, name: string, values: readonly number[]): Value {
  const bytes = new Uint8Array(new BigInt64Array(values.map(BigInt)).buffer)
  return builder.constant(name, 'i64', [values.length], bytes)
}

/** Names of what attention shares over all blocks of a graph. */
export const SEQUENCE_LENGTHS = 'lengths'
export const TOTAL_LENGTH = 'total'
export const ROPE_COS = 'rope.cos'
export const ROPE_SIN = 'rope.sin'
export const ROPE_START = 'start'

/** Names of a block's key and value cache, as inputs and outputs of the graph. */
export function cacheNames(block: number, kind: 'key' | 'value'): { past: Value; present: Value } {
  return { past: `past.${block}.${kind}`, present: `present.${block}.${kind}` }
}

/** The operator turns only head sizes of whole sixteens by itself. */
export function ropeIsFused(config: ModelConfig): boolean {
  return config.headDim % 16 === 0
}

/** Causal attention over the block's cache, with rotary positions; qkv is (1, count, q + k + v). */
export function attention(scope: BlockScope, qkv: Value): Value {
  const { builder, config, block } = scope
  const { headCount, kvHeadCount, headDim } = config
  const key = cacheNames(block, 'key')
  const value = cacheNames(block, 'value')
  const dims = [1, kvHeadCount, 'capacity', headDim] as const
  for (const { past } of [key, value]) builder.input(past, 'f32', dims)
  const attended = builder.fresh('attended')
  const fused = ropeIsFused(config)
  const [q, k, v] = fused ? [qkv, '', ''] : rotated(scope, qkv)
  builder.nodes(
    'GroupQueryAttention',
    [
      q,
      k,
      v,
      key.past,
      value.past,
      SEQUENCE_LENGTHS,
      TOTAL_LENGTH,
      ...(fused ? [ROPE_COS, ROPE_SIN] : [])
    ],
    {
      domain: MICROSOFT,
      attributes: { num_heads: headCount, kv_num_heads: kvHeadCount, do_rotary: fused ? 1 : 0 },
      outputs: [attended, key.present, value.present]
    }
  )
  for (const { present } of [key, value]) builder.output(present, 'f32', dims)
  return attended
}

/** Queries, keys and values apart, the first two turned by their positions. */
function rotated(scope: BlockScope, qkv: Value): [Value, Value, Value] {
  const { builder, config } = scope
  const { headCount, kvHeadCount, headDim } = config
  const sizes = [headCount, kvHeadCount, kvHeadCount].map((heads) => heads * headDim)
  const parts = [builder.fresh('q'), builder.fresh('k'), builder.fresh('v')] as const
  builder.nodes('Split', [qkv, constantIntegers(builder, 'split.qkv', sizes)], {
    attributes: { axis: -1 },
    outputs: parts
  })
  const turn = (x: Value, heads: number): Value =>
    builder.node('RotaryEmbedding', [x, ROPE_START, ROPE_COS, ROPE_SIN], {
      domain: MICROSOFT,
      attributes: { num_heads: heads }
    })
  return [turn(parts[0], headCount), turn(parts[1], kvHeadCount), parts[2]]
}

/** SwiGLU of gate and up side by side (1, count, 2 * ffn): silu(gate) * up. */
export function swiglu(scope: BlockScope, gateUp: Value): Value {
  const { builder } = scope
  const [gate, up] = [builder.fresh('gate'), builder.fresh('up')]
  builder.nodes('Split', [gateUp], {
    attributes: { axis: -1, num_outputs: 2 },
    outputs: [gate, up]
  })
  // QuickGelu with alpha 1 is x * sigmoid(x), in one operator.
  const active = builder.node('QuickGelu', [gate], {
    domain: MICROSOFT,
    attributes: { alpha: float(1) }
  })
  return builder.node('Mul', [active, up])
}
