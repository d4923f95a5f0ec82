// Plans what a span will hold, from the model's facts, before any weights are read: forms, names
// and sizes. Knows no engine.
import type { BlockSpan } from '../base/block-span.ts'
import { kvBlockBytes } from '../kernels/program.ts'
import { rotaryOf } from '../model/families/rope.ts'
import type { ModelConfig, TensorStore, TensorType } from '../model/types.ts'
import { graphOf } from './families/graph-of.ts'
import {
  isWindowed,
  ROPE_GLOBAL,
  ROPE_LOCAL,
  tensorName,
  type LinearPart,
  type RopeNames
} from './families/facts.ts'
import {
  matrixTensors,
  planForm,
  sameForm,
  specBytes,
  type MatrixForm,
  type TensorSpec
} from './quantise/form.ts'
import { packedFloats, planPacked } from './quantise/packed-form.ts'
import type { KvType, Lowering, Quant } from './types.ts'

/** The lowering that is used by default. */
export const DEFAULT_LOWERING: Lowering = 'kernels'
/** Positions of one page of keys and values. */
export const PAGE_TOKENS = 32

/** A matrix and the tensors of the model that are its rows, from top to bottom. */
export interface MatrixPlan extends LinearPart {
  readonly sources: readonly { readonly tensor: string; readonly rows: number }[]
}

/** A vector under its canonical name. */
export interface VectorPlan {
  readonly tensor: string
  readonly length: number
}

export interface BlockPlan {
  readonly block: number
  /** By group name: one matrix, or several if the source types cannot share one. */
  readonly groups: ReadonlyMap<string, readonly MatrixPlan[]>
  readonly vectors: readonly VectorPlan[]
}

export interface SpanPlan {
  readonly config: ModelConfig
  readonly quant: Quant
  readonly lowering: Lowering
  /** How keys and values are held. */
  readonly kv: KvType
  readonly blocks: readonly BlockPlan[]
  readonly weightBytes: number
  readonly kvBytesPerToken: number
  readonly notes: readonly string[]
}

export interface SpanPlanOptions extends BlockSpan {
  readonly quant: Quant
  /** Default: DEFAULT_LOWERING. */
  readonly lowering?: Lowering | undefined
  /** Default: 'f32' with floats throughout, else 'f16'. ONNX graphs have 'f32'. */
  readonly kv?: KvType | undefined
  /** Values per scale where ONNX's floats are rounded; for measuring. */
  readonly roundedBlock?: number | undefined
}

export function planSpan(
  config: ModelConfig,
  tensors: TensorStore,
  options: SpanPlanOptions
): SpanPlan {
  const { start, end, quant, lowering = DEFAULT_LOWERING } = options
  const kv = lowering === 'onnx' ? 'f32' : (options.kv ?? defaultKv(quant))
  const blocks: BlockPlan[] = []
  for (let block = start; block < end; block++) {
    blocks.push(planBlock(config, tensors, block, { ...options, lowering }))
  }
  const matrices = blocks.flatMap(matricesOf)
  const tables = tableBytes(config, { start, end })
  return {
    config,
    quant,
    lowering,
    kv,
    blocks,
    weightBytes: blocks.reduce((sum, block) => sum + blockBytes(block), tables),
    kvBytesPerToken: blocks.length * kvBlockTokenBytes(config, lowering, kv),
    notes: [...new Set(matrices.map(noteOf))]
  }
}

/** How keys and values are held by our kernels where nobody says. */
export function defaultKv(quant: Quant): KvType {
  return quant === 'f32' ? 'f32' : 'f16'
}

/** Keys and values of one token in one block. */
function kvBlockTokenBytes(config: ModelConfig, lowering: Lowering, kv: KvType): number {
  const { kvHeadCount: kvHeads, headDim } = config
  if (lowering === 'onnx') return 2 * kvHeads * headDim * 4
  return kvBlockBytes(kv, { kvHeads, headDim, pagePositions: PAGE_TOKENS }) / PAGE_TOKENS
}

export function matricesOf(block: BlockPlan): MatrixPlan[] {
  return [...block.groups.values()].flat()
}

/** Weights of one block, without the tables that a span's blocks share. */
export function blockBytes(block: BlockPlan): number {
  const vectors = block.vectors.reduce((sum, vector) => sum + vector.length * 4, 0)
  return matricesOf(block).reduce((sum, matrix) => sum + matrixBytes(matrix), vectors)
}

/** Bytes of the rotation tables that blocks [start, end) share. */
export function tableBytes(config: ModelConfig, range: BlockSpan): number {
  const specs = ropeTables(config, range).flatMap(({ cos, sin }) => [cos, sin])
  return specs.reduce((sum, spec) => sum + specBytes(spec), 0)
}

type FormOptions = Pick<SpanPlanOptions, 'quant' | 'roundedBlock'> & {
  readonly lowering: Lowering
}

function planBlock(
  config: ModelConfig,
  tensors: TensorStore,
  block: number,
  options: FormOptions
): BlockPlan {
  const family = graphOf(config.family)
  const groups = new Map<string, MatrixPlan[]>()
  for (const { name, parts, columns, exact, whole } of family.matrices(config)) {
    const sources = parts.map(({ part, rows }) => ({ tensor: tensorName(block, part), rows }))
    const facts = { ...options, sources, columns, exact, whole }
    groups.set(name, planGroup(tensors, `blocks.${block}.${name}`, facts))
  }
  return {
    block,
    groups,
    vectors: family
      .vectors(config)
      .map(({ name, length }) => ({ tensor: `model.layers.${block}.${name}`, length }))
  }
}

interface GroupFacts extends FormOptions {
  readonly sources: MatrixPlan['sources']
  readonly columns: number
  /** Held in floats. */
  readonly exact?: true | undefined
  /** Must be one matrix. */
  readonly whole?: true | undefined
}

/** Merges neighbours of the same form into one matrix. */
export function planGroup(tensors: TensorStore, name: string, facts: GroupFacts): MatrixPlan[] {
  const plans = planned(tensors, name, facts)
  if (!facts.whole || facts.lowering === 'onnx' || plans.length === 1) return plans
  return planned(tensors, name, { ...facts, exact: true })
}

function planned(tensors: TensorStore, name: string, facts: GroupFacts): MatrixPlan[] {
  const runs: { form: MatrixForm; sources: MatrixPlan['sources'][number][] }[] = []
  for (const source of facts.sources) {
    const form = formOf(tensors.info(source.tensor).type, facts)
    const open = runs.at(-1)
    if (open !== undefined && sameForm(open.form, form)) open.sources.push(source)
    else runs.push({ form, sources: [source] })
  }
  return runs.map((run, index) => ({
    name: `${name}.${index}`,
    form: run.form,
    columns: facts.columns,
    rows: run.sources.reduce((sum, source) => sum + source.rows, 0),
    sources: run.sources,
    bias: run.sources.some((source) => tensors.has(biasName(source.tensor)))
  }))
}

function formOf(type: TensorType, facts: GroupFacts): MatrixForm {
  const { quant, lowering, exact, roundedBlock } = facts
  if (lowering === 'onnx') return planForm(type, exact ? 'f32' : quant, roundedBlock)
  return exact ? packedFloats(type) : planPacked(type, quant)
}

/** Canonical name of a weight's bias. */
export function biasName(weight: string): string {
  return weight.replace(/weight$/, 'bias')
}

/** What a matrix and its bias take. */
export function matrixBytes(matrix: LinearPart): number {
  const specs = matrixTensors(matrix.name, matrix.form, matrix.rows, matrix.columns)
  const bias = matrix.bias ? matrix.rows * 4 : 0
  return specs.reduce((sum, spec) => sum + specBytes(spec), bias)
}

/**
 * What a matrix's type became and what that takes, e.g. 'Q4_1 exact, 4 bits + block minimum: 6.0
 * bits a weight'.
 */
function noteOf(matrix: LinearPart): string {
  const bits = 8 * matrixBytes({ ...matrix, bias: false })
  return `${matrix.form.note}: ${(bits / (matrix.rows * matrix.columns)).toFixed(1)} bits a weight`
}

/** One pair of rotation tables, (positions, rotary / 2) each. */
export interface RopeTable {
  readonly cos: TensorSpec
  readonly sin: TensorSpec
  readonly theta: number
  /** Whether frequencies are divided by the model's factors. */
  readonly isScaled: boolean
}

/** The tables that blocks [start, end) need. */
export function ropeTables(config: ModelConfig, range: BlockSpan): RopeTable[] {
  const { positions, ropeTheta, ropeLocalTheta } = config
  if (positions !== undefined) return []
  const dims = [config.contextLength, rotaryOf(config) / 2]
  const table = (names: RopeNames, theta: number): RopeTable => ({
    cos: { name: names.cos, type: 'f32', dims },
    sin: { name: names.sin, type: 'f32', dims },
    theta,
    isScaled: names === ROPE_GLOBAL
  })
  const [globals, locals] = [new Set<number>(), new Set<number>()]
  for (let block = range.start; block < range.end; block++) {
    const isLocal = ropeLocalTheta !== undefined && isWindowed(config, block)
    ;(isLocal ? locals : globals).add(block)
  }
  return [
    ...(globals.size > 0 ? [table(ROPE_GLOBAL, ropeTheta)] : []),
    ...(locals.size > 0 ? [table(ROPE_LOCAL, ropeLocalTheta ?? ropeTheta)] : [])
  ]
}
