// The parts of a block as operations of a program for our own kernels. Knows no memory: addresses
// of weights and tables are given.
import type {
  Address,
  AttentionOptions as KernelAttentionOptions,
  ExpertsOptions,
  PackedMatrix,
  RopeAddresses
} from '../../kernels/program.ts'
import type { ModelConfig } from '../../model/types.ts'
import { isWindowed, tensorName } from '../families/facts.ts'
import type { AttentionOptions, BlockParts, NormKind, Stream } from '../families/parts.ts'
import type { AdapterSlotNames } from '../adapters/span-adapters.ts'
import type { RecordedBlock, Rows } from './recorded-block.ts'

/** Where the weights of one block lie. */
export interface WeightScope {
  readonly config: ModelConfig
  readonly block: number
  /** Matrices of a group; their outputs are concatenated. */
  readonly matrices: (name: string) => readonly PackedMatrix[]
  /** A vector by its canonical name. */
  readonly vector: (tensor: string) => Address
  /** Tables for rotating queries and keys; undefined for models without RoPE. */
  readonly rope: RopeAddresses | undefined
  /** ALiBi's slopes times a factor, one for each head. */
  readonly slopes: (factor: number) => Address
}

/** What the parts of one block are written into, too. */
export interface KernelScope extends WeightScope {
  readonly recorded: RecordedBlock
  /** Where adapters add something is noted here. */
  readonly slots: AdapterSlotNames
}

export function kernelParts(scope: KernelScope, kind: NormKind): BlockParts<Rows> {
  const { config, recorded } = scope
  const { hidden } = recorded
  const norm = (stream: Stream<Rows>, part: string): { normed: Rows; residual: Rows } => {
    const { residual, branch } = stream
    const normed = { width: residual.width }
    const options = normOptions(scope, part, kind)
    recorded.step([residual, normed, ...(branch ? [branch] : [])], (builder, place) =>
      builder.norm(place(residual), place(normed), {
        ...options,
        branch: branch && place(branch)
      })
    )
    return { normed, residual }
  }
  const activate =
    (name: 'swiglu' | 'geglu-tanh' | 'gelu-tanh' | 'gelu-erf', share: number) =>
    (x: Rows): Rows => {
      const out = { width: x.width * share }
      recorded.step([x, out], (builder, place) => builder.activate(place(x), place(out), name))
      return out
    }
  return {
    config,
    norm,
    branchNorm: (residual, part) => norm({ residual }, part).normed,
    linear(x, name) {
      const matrices = scope.matrices(name)
      const out = { width: matrices.reduce((sum, { rows }) => sum + rows, 0) }
      recorded.step([x, out], (builder, place) => {
        builder.matmul(place(x), place(out), matrices)
        scope.slots.setProduct(scope.block, name, builder.adapt(place(x), place(out)))
      })
      return out
    },
    attention: (qkv, options) => attention(scope, qkv, options),
    swiglu: activate('swiglu', 1 / 2),
    geglu: activate('geglu-tanh', 1 / 2),
    gelu: (x, of) => activate(of === 'erf' ? 'gelu-erf' : 'gelu-tanh', 1)(x),
    experts: (x) => experts(scope, x),
    add(a, b) {
      // The sum replaces the first operand: no family reads it again.
      if (a === hidden) throw new TypeError('The stream is summed by norms')
      recorded.step([a, b], (builder, place) => builder.add(place(a), place(b)))
      return a
    }
  }
}

/** Begins a block: adds prompts to the rows that enter it. */
export function enterBlock({ recorded, slots, block }: KernelScope): Stream<Rows> {
  const { hidden } = recorded
  recorded.step([hidden], (builder, place) => slots.setPrompt(block, builder.prompt(place(hidden))))
  return { residual: hidden }
}

/** Ends a block: adds what is still a branch to the stream. */
export function joinStream({ recorded }: KernelScope, { branch }: Stream<Rows>): void {
  if (branch === undefined) return
  const { hidden } = recorded
  recorded.step([hidden, branch], (builder, place) => builder.add(place(hidden), place(branch)))
}

export function normOptions(
  { config, block, vector }: WeightScope,
  part: string,
  kind: NormKind
): { kind: NormKind; weight: Address; bias: Address | undefined; epsilon: number } {
  return {
    kind,
    weight: vector(tensorName(block, part)),
    bias: kind === 'layer' ? vector(tensorName(block, part, 'bias')) : undefined,
    epsilon: config.rmsEps
  }
}

function attention(scope: KernelScope, qkv: Rows, options: AttentionOptions = {}): Rows {
  const { config, recorded } = scope
  const out = { width: config.headCount * config.headDim }
  const record = attentionOptions(scope, options)
  recorded.step([qkv, out], (builder, place) => builder.attention(place(qkv), place(out), record))
  return out
}

/** What a block's attention does, as operations take it. */
export function attentionOptions(
  { config, block, rope, vector, slopes }: WeightScope,
  { headNorms, alibiScale = 1 }: AttentionOptions
): KernelAttentionOptions {
  const { headCount: heads, kvHeadCount: kvHeads, headDim, rmsEps: epsilon } = config
  return {
    heads,
    kvHeads,
    headDim,
    scale: config.attentionScale,
    softCap: config.attentionSoftCap,
    window: isWindowed(config, block) ? config.window : undefined,
    rope,
    headNorms: headNorms && {
      query: vector(tensorName(block, headNorms.query)),
      key: vector(tensorName(block, headNorms.key)),
      epsilon
    },
    slopes: config.positions === 'alibi' ? slopes(alibiScale) : undefined
  }
}

function experts(scope: KernelScope, x: Rows): Rows {
  const { recorded } = scope
  const options = expertsOptions(scope)
  const out = { width: x.width }
  recorded.step([x, out], (builder, place) => builder.experts(place(x), place(out), options))
  return out
}

/** A block's experts, as operations take them. */
export function expertsOptions({ config, matrices }: WeightScope): ExpertsOptions {
  const { expertCount = 0, expertsPerToken = 0, expertSharesOfAll } = config
  const one = (name: string): PackedMatrix => {
    const [matrix, ...others] = matrices(name)
    if (matrix === undefined || others.length > 0) {
      throw new TypeError(`'${name}' is not one matrix`)
    }
    return matrix
  }
  return {
    router: one('router'),
    experts: Array.from({ length: expertCount }, (_, expert) => ({
      gateUp: one(`experts.${expert}.gateUp`),
      down: one(`experts.${expert}.down`)
    })),
    chosen: expertsPerToken,
    sharesOfAll: expertSharesOfAll
  }
}
