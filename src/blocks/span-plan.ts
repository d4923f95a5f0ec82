// What a span will hold, decided from the model's facts before a byte is read: forms, names and sizes.
// Knows no engine.
import type { ModelConfig, TensorStore } from '../model/types.ts'
import { graphOf } from './families/family.ts'
import { ROPE_COS, ROPE_SIN, tensorName, type LinearPart } from './graph/parts.ts'
import {
  matrixTensors,
  planForm,
  sameForm,
  specBytes,
  type MatrixForm,
  type TensorSpec
} from './quantise/form.ts'
import type { Quant } from './types.ts'

/** A matrix and the tensors of the model that are its rows, from above to below. */
export interface MatrixPlan extends LinearPart {
  readonly sources: readonly { readonly tensor: string; readonly rows: number }[]
}

export interface BlockPlan {
  readonly block: number
  /** By group name: one matrix, or several where source types do not mix. */
  readonly groups: ReadonlyMap<string, readonly MatrixPlan[]>
  /** Canonical names of vectors. */
  readonly vectors: readonly string[]
}

export interface SpanPlan {
  readonly config: ModelConfig
  readonly quant: Quant
  readonly blocks: readonly BlockPlan[]
  readonly weightBytes: number
  readonly kvBytesPerToken: number
  readonly notes: readonly string[]
}

export function planSpan(
  config: ModelConfig,
  tensors: TensorStore,
  range: { first: number; last: number; quant: Quant }
): SpanPlan {
  const { first, last, quant } = range
  const blocks: BlockPlan[] = []
  for (let block = first; block < last; block++) {
    blocks.push(planBlock(config, tensors, block, quant))
  }
  const matrices = blocks.flatMap((block) => [...block.groups.values()].flat())
  const rope = ropeSpecs(config).reduce((sum, spec) => sum + specBytes(spec), 0)
  return {
    config,
    quant,
    blocks,
    weightBytes:
      rope +
      blocks.length * graphOf(config.family).vectors(config).length * config.hiddenSize * 4 +
      matrices.reduce((sum, matrix) => sum + matrixBytes(matrix), 0),
    kvBytesPerToken: blocks.length * 2 * config.kvHeadCount * config.headDim * 4,
    notes: [...new Set(matrices.map((matrix) => matrix.form.note))]
  }
}

function planBlock(
  config: ModelConfig,
  tensors: TensorStore,
  block: number,
  quant: Quant
): BlockPlan {
  const family = graphOf(config.family)
  const groups = new Map<string, MatrixPlan[]>()
  for (const { name, parts, columns } of family.matrices(config)) {
    const sources = parts.map(({ part, rows }) => ({ tensor: tensorName(block, part), rows }))
    groups.set(name, planGroup(tensors, `blocks.${block}.${name}`, { sources, columns, quant }))
  }
  return {
    block,
    groups,
    vectors: family.vectors(config).map((part) => tensorName(block, part))
  }
}

interface GroupFacts {
  readonly sources: MatrixPlan['sources']
  readonly columns: number
  readonly quant: Quant
}

/** Joins neighbours of one form into one matrix. */
export function planGroup(tensors: TensorStore, name: string, facts: GroupFacts): MatrixPlan[] {
  const { sources, columns, quant } = facts
  const runs: { form: MatrixForm; sources: MatrixPlan['sources'][number][] }[] = []
  for (const source of sources) {
    const form = planForm(tensors.info(source.tensor).type, quant)
    const open = runs.at(-1)
    if (open !== undefined && sameForm(open.form, form)) open.sources.push(source)
    else runs.push({ form, sources: [source] })
  }
  return runs.map((run, index) => ({
    name: `${name}.${index}`,
    form: run.form,
    columns,
    rows: run.sources.reduce((sum, source) => sum + source.rows, 0),
    sources: run.sources
  }))
}

export function matrixBytes(matrix: LinearPart): number {
  const specs = matrixTensors(matrix.name, matrix.form, matrix.rows, matrix.columns)
  return specs.reduce((sum, spec) => sum + specBytes(spec), 0)
}

/** The tables of rotary positions: (contextLength, headDim / 2) each. */
export function ropeSpecs(config: ModelConfig): [TensorSpec, TensorSpec] {
  const dims = [config.contextLength, config.headDim / 2]
  return [
    { name: ROPE_COS, type: 'f32', dims },
    { name: ROPE_SIN, type: 'f32', dims }
  ]
}
