// Attention over a block's cache, by onnxruntime's fused operator: windows, soft caps, RoPE and
// ALiBi. Knows the names of caches and tables among the graph's inputs.
import { rotaryOf } from '../../model/families/rope.ts'
import type { ModelConfig } from '../../model/types.ts'
import { isWindowed, ropeNames } from '../families/facts.ts'
import type { AttentionOptions } from '../families/parts.ts'
import { alibiBias } from './alibi.ts'
import { float, MICROSOFT, type Attributes, type Value } from './builder.ts'
import { headNorm } from './norms.ts'
import { constantIntegers, type BlockScope } from './parts.ts'

/** Names of the inputs that all blocks of a graph share. */
export const SEQUENCE_LENGTHS = 'lengths'
export const TOTAL_LENGTH = 'total'
export const ROPE_START = 'start'

/** Names of a block's key and value cache, as inputs and outputs of the graph. */
export interface CacheNames {
  readonly past: Value
  readonly present: Value
}

export function cacheNames(block: number, kind: 'key' | 'value'): CacheNames {
  return { past: `past.${block}.${kind}`, present: `present.${block}.${kind}` }
}

/**
 * Whether attention itself rotates queries and keys: it can only for whole heads of multiples of
 * 16. Otherwise nodes of our own do.
 */
export function ropeIsFused(config: ModelConfig): boolean {
  if (config.positions !== undefined) return true
  return config.headDim % 16 === 0 && rotaryOf(config) === config.headDim
}

/** Causal attention over the block's caches; qkv is (1, count, q + k + v). */
export function attention(scope: BlockScope, qkv: Value, options: AttentionOptions = {}): Value {
  const { builder, config, block } = scope
  const { positions } = config
  const tables = ropeNames(config, block)
  const turns = positions === undefined
  if (turns) {
    for (const name of Object.values(tables)) {
      builder.weight(name, 'f32', [config.contextLength, rotaryOf(config) / 2])
    }
  }
  const isInside = turns && ropeIsFused(config)
  const parts = prepared(scope, qkv, {
    headNorms: options.headNorms,
    tables: turns && !isInside ? tables : undefined
  })
  return attended(scope, parts, {
    tables: isInside ? [tables.cos, tables.sin] : ['', ''],
    alibiScale: options.alibiScale ?? 1
  })
}

/**
 * The input of attention for all rows: qkv unchanged, or queries, keys and values separately if
 * they must be changed first.
 */
function prepared(
  scope: BlockScope,
  qkv: Value,
  options: {
    headNorms: AttentionOptions['headNorms']
    tables: { cos: Value; sin: Value } | undefined
  }
): [Value, Value, Value] {
  const { headNorms, tables } = options
  if (headNorms === undefined && tables === undefined) return [qkv, '', '']
  const { headCount, kvHeadCount } = scope.config
  const [q, k, v] = splitQkv(scope, qkv)
  const query = headNorms === undefined ? q : headNorm(scope, q, headNorms.query)
  const key = headNorms === undefined ? k : headNorm(scope, k, headNorms.key)
  if (tables === undefined) return [query, key, v]
  return [turned(scope, query, headCount, tables), turned(scope, key, kvHeadCount, tables), v]
}

/** `rows`: qkv, or queries, keys and values. */
function attended(
  scope: BlockScope,
  rows: readonly Value[],
  of: { tables: readonly Value[]; alibiScale: number }
): Value {
  const { builder, config, block } = scope
  const { headCount, kvHeadCount, headDim, positions } = config
  const { tables } = of
  const key = cacheNames(block, 'key')
  const value = cacheNames(block, 'value')
  const dims = [1, kvHeadCount, 'capacity', headDim] as const
  for (const { past } of [key, value]) builder.input(past, 'f32', dims)
  const alibi = { total: TOTAL_LENGTH, rows: rows[0] ?? '', scale: of.alibiScale }
  const bias = positions === 'alibi' ? ['', alibiBias(builder, headCount, alibi)] : []
  const output = builder.fresh('attended')
  builder.nodes(
    'GroupQueryAttention',
    withoutEnd([...rows, key.past, value.past, SEQUENCE_LENGTHS, TOTAL_LENGTH, ...tables, ...bias]),
    {
      domain: MICROSOFT,
      attributes: attentionAttributes(scope, tables[0] !== ''),
      outputs: [output, key.present, value.present]
    }
  )
  for (const { present } of [key, value]) builder.output(present, 'f32', dims)
  return output
}

function attentionAttributes(scope: BlockScope, doesTurn: boolean): Attributes {
  const { config, block } = scope
  const { headCount, kvHeadCount, attentionScale, attentionSoftCap, window } = config
  return {
    num_heads: headCount,
    kv_num_heads: kvHeadCount,
    do_rotary: doesTurn ? 1 : 0,
    ...(attentionScale === undefined ? {} : { scale: float(attentionScale) }),
    ...(attentionSoftCap === undefined ? {} : { softcap: float(attentionSoftCap) }),
    ...(isWindowed(config, block) && window !== undefined ? { local_window_size: window } : {})
  }
}

/** Optional inputs that are not given: left out at the end, empty elsewhere. */
function withoutEnd(inputs: Value[]): Value[] {
  while (inputs.at(-1) === '') inputs.pop()
  return inputs
}

/** Splits queries, keys and values. */
function splitQkv(scope: BlockScope, qkv: Value): [Value, Value, Value] {
  const { builder, config } = scope
  const { headCount, kvHeadCount, headDim } = config
  const sizes = [headCount, kvHeadCount, kvHeadCount].map((heads) => heads * headDim)
  const parts: [Value, Value, Value] = [builder.fresh('q'), builder.fresh('k'), builder.fresh('v')]
  builder.nodes('Split', [qkv, constantIntegers(builder, 'split.qkv', sizes)], {
    attributes: { axis: -1 },
    outputs: parts
  })
  return parts
}

/** Rotates by position, for heads that the operator itself does not rotate. */
function turned(
  { builder, config }: BlockScope,
  x: Value,
  heads: number,
  tables: { cos: Value; sin: Value }
): Value {
  return builder.node('RotaryEmbedding', [x, ROPE_START, tables.cos, tables.sin], {
    domain: MICROSOFT,
    attributes: {
      num_heads: heads,
      ...(config.rotaryDim === undefined ? {} : { rotary_embedding_dim: config.rotaryDim })
    }
  })
}
