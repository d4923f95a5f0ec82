// The parts that a span and a head consist of. Each part is made and kept separately, with its
// tensors and its recipe. Knows plans; fill-weights.ts makes the bytes.
import type { BlockSpan } from '../../base/block-span.ts'
import type { Model } from '../../model/types.ts'
import { WeightFiller } from './fill-weights.ts'
import { matrixTensors, type MatrixForm, type TensorSpec } from '../quantise/form.ts'
import {
  matricesOf,
  ropeTables,
  type BlockPlan,
  type MatrixPlan,
  type SpanPlan,
  type VectorPlan
} from '../span-plan.ts'
import type { Packer } from './pack-matrix.ts'
import type { WeightPart, WeightSink } from './weight-part.ts'

/**
 * The parts of blocks [start, end): the tables that they share, and each block. `packer` for our
 * own kernels.
 */
export function spanParts(
  model: Model,
  plan: SpanPlan,
  range: BlockSpan,
  packer?: Packer
): WeightPart[] {
  const { config } = model
  const filler = new WeightFiller(model.tensors, packer)
  const tables = ropeTables(config, range).map((table): WeightPart => {
    const { cos, sin, theta, isScaled } = table
    return {
      name: 'the table of positions',
      specs: [cos, sin],
      recipe: { kind: 'rope', theta, isScaled },
      make: (sink) => filler.rope(config, table, sink)
    }
  })
  const half = plan.quant === 'f16' && plan.lowering === 'onnx'
  const options = { plus: config.normPlusOne ? 1 : 0, half }
  return [...tables, ...plan.blocks.map((block) => blockPart(filler, block, options))]
}

function blockPart(
  filler: WeightFiller,
  plan: BlockPlan,
  options: { plus: number; half: boolean }
): WeightPart {
  return filledPart(`block ${plan.block}`, filler, plan.vectors, matricesOf(plan), options)
}

/** The final norm and the output matrix. */
export function headPart(
  model: Model,
  vectors: readonly VectorPlan[],
  matrices: readonly MatrixPlan[],
  packer?: Packer
): WeightPart {
  const options = { plus: model.config.normPlusOne ? 1 : 0, half: false }
  return filledPart('the head', new WeightFiller(model.tensors, packer), vectors, matrices, options)
}

function filledPart(
  name: string,
  filler: WeightFiller,
  vectors: readonly VectorPlan[],
  matrices: readonly MatrixPlan[],
  options: { plus: number; half: boolean }
): WeightPart {
  const { plus, half } = options
  return {
    name,
    specs: [...vectors.map(vectorSpec), ...matrices.flatMap(matrixSpecs)],
    recipe: { plus, half, vectors, matrices: matrices.map(recipeOf) },
    *make(sink: WeightSink) {
      for (const { tensor, length } of vectors) filler.vector(tensor, length, sink, plus)
      for (const matrix of matrices) yield* filler.matrix(matrix, sink, half)
    }
  }
}

function vectorSpec({ tensor, length }: VectorPlan): TensorSpec {
  return { name: tensor, type: 'f32', dims: [length] }
}

function matrixSpecs({ name, form, rows, columns, bias }: MatrixPlan): TensorSpec[] {
  const specs = matrixTensors(name, form, rows, columns)
  return bias ? [...specs, { name: `${name}.bias`, type: 'f32', dims: [rows] }] : specs
}

/** Without what is only for people to read. */
function recipeOf({ form, sources, bias }: MatrixPlan): object {
  return { form: bareForm(form), sources, bias }
}

function bareForm(form: MatrixForm): object {
  if (form.kind === 'float') return { kind: form.kind }
  if (form.kind === 'packed') return { kind: form.kind, type: form.type }
  const { kind, bits, block, offsets, from } = form
  return { kind, bits, block, offsets, from }
}
