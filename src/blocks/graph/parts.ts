// The context in which a block's parts are built, and linear layers. norms.ts, attention.ts, mlp.ts
// and experts.ts have the other parts; onnx-parts.ts offers them to families, which say in which
// order.
import type { ModelConfig } from '../../model/types.ts'
import type { LinearPart } from '../families/facts.ts'
import { MICROSOFT, type GraphBuilder, type Value } from './builder.ts'

/** The context of one block. */
export interface BlockScope {
  readonly builder: GraphBuilder
  readonly config: ModelConfig
  /** Which block of the model. */
  readonly block: number
  /** 0: float activations; 4: int8 activations. */
  readonly accuracy: number
  readonly linear: (name: string) => readonly LinearPart[]
}

/** x (1, count, columns) times the layer's matrix: (1, count, rows). */
export function linear(scope: BlockScope, x: Value, name: string): Value {
  return linearWith(scope.builder, scope.linear(name), x, scope.accuracy)
}

/** The same for layers outside a block; several parts are concatenated. */
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
  const plain = unbiasedProduct(builder, part, x, accuracy)
  if (!part.bias) return plain
  return builder.node('Add', [plain, builder.weight(`${part.name}.bias`, 'f32', [part.rows])])
}

function unbiasedProduct(
  builder: GraphBuilder,
  part: LinearPart,
  x: Value,
  accuracy: number
): Value {
  const { name, rows, columns, form } = part
  if (form.kind === 'float') {
    return builder.node('MatMul', [x, builder.weight(name, 'f32', [columns, rows])])
  }
  if (form.kind === 'packed') throw new TypeError(`Matrix '${name}' is packed for our own kernels`)
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
  const offsets = builder.weight(`${name}.offsets`, 'f32', [count, rows])
  const sums = blockSums(builder, x, count, form.block)
  return builder.node('Add', [scaled, builder.node('MatMul', [sums, offsets])])
}

/** Sums of x over each block of columns, which blocks' offsets are multiplied with. */
function blockSums(builder: GraphBuilder, x: Value, count: number, block: number): Value {
  const shape = constantIntegers(builder, `shape.${count}.${block}`, [0, 0, count, block])
  const axis = constantIntegers(builder, 'axis.last', [-1])
  const grouped = builder.node('Reshape', [x, shape])
  return builder.node('ReduceSum', [grouped, axis], { attributes: { keepdims: 0 } })
}

export function constantIntegers(
  builder: GraphBuilder,
  name: string,
  values: readonly number[]
): Value {
  const bytes = new Uint8Array(new BigInt64Array(values.map(BigInt)).buffer)
  return builder.constant(name, 'i64', [values.length], bytes)
}
