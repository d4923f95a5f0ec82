// Mixture of experts: a router picks a few MLPs for each row; rows are sorted by expert, each
// expert's matrices see only its own rows (often none), and the results are put back in order.
// Composed of small operators around MatMulNBits, because on a CPU onnxruntime's fused QMoE (1.30)
// expands 4 bits to floats in every run: 18 times slower for one row, 4 times or more for 64
// (scripts/bench/bench-experts.py, two threads). Not branches of `If`, because several graphs
// cannot share their repacked weights.
import type { GraphBuilder, Value } from './builder.ts'
import { swiglu } from './mlp.ts'
import { constantIntegers, linear, type BlockScope } from './parts.ts'

const INT64 = 7

/**
 * x (1, count, hidden) through the experts of each row: `router`, `experts.N.gateUp`,
 * `experts.N.down`.
 */
export function experts(scope: BlockScope, x: Value): Value {
  const { builder, config } = scope
  const { hiddenSize, expertCount = 0, expertsPerToken = 0 } = config
  const integers = (...values: number[]): Value =>
    constantIntegers(builder, `experts.${values.join('.')}`, values)
  const { chosen, shares } = route(scope, x)
  const { rows, order, counts } = sort(builder, chosen, { expertCount, expertsPerToken })
  const each = (input: Value, name: string): Value => {
    const inputs = Array.from({ length: expertCount }, () => builder.fresh('rows'))
    builder.nodes('Split', [input, counts], { attributes: { axis: 1 }, outputs: inputs })
    const outputs = inputs.map((mine, expert) => linear(scope, mine, `experts.${expert}.${name}`))
    return builder.node('Concat', outputs, { attributes: { axis: 1 } })
  }
  const sorted = builder.node('Gather', [x, rows], { attributes: { axis: 1 } })
  const answers = each(swiglu(scope, each(sorted, 'gateUp')), 'down')
  const inOrder = builder.node('Gather', [answers, order], { attributes: { axis: 1 } })
  const byRow = builder.node('Reshape', [inOrder, integers(-1, expertsPerToken, hiddenSize)])
  const weights = builder.node('Reshape', [shares, integers(-1, 1, expertsPerToken)])
  const summed = builder.node('MatMul', [weights, byRow])
  return builder.node('Reshape', [summed, integers(1, -1, hiddenSize)])
}

/** The experts of each row and their weights, (1, count, expertsPerToken) each. */
function route(scope: BlockScope, x: Value): { chosen: Value; shares: Value } {
  const { builder, config } = scope
  const { expertsPerToken = 0, expertSharesOfAll } = config
  const scores = linear(scope, x, 'router')
  const of = expertSharesOfAll ? softmax(builder, scores) : scores
  const most = constantIntegers(builder, 'experts.most', [expertsPerToken])
  const [best, chosen] = [builder.fresh('best'), builder.fresh('chosen')]
  builder.nodes('TopK', [of, most], { attributes: { axis: -1 }, outputs: [best, chosen] })
  return { chosen, shares: expertSharesOfAll ? best : softmax(builder, best) }
}

function softmax(builder: GraphBuilder, x: Value): Value {
  return builder.node('Softmax', [x], { attributes: { axis: -1 } })
}

interface Sorted {
  /** Row numbers ordered by expert, (count * expertsPerToken). */
  readonly rows: Value
  /**
   * Where the results of each row's experts are among the sorted ones, (count * expertsPerToken).
   */
  readonly order: Value
  /** Number of rows of each expert, (expertCount). */
  readonly counts: Value
}

/** Sorts the choices by expert, so that each expert's rows are consecutive. */
function sort(
  builder: GraphBuilder,
  chosen: Value,
  of: { expertCount: number; expertsPerToken: number }
): Sorted {
  const integers = (name: string, values: readonly number[]): Value =>
    constantIntegers(builder, `experts.${name}`, values)
  const all = builder.node('Reshape', [chosen, integers('flat', [-1])])
  const length = builder.node('Shape', [all])
  const ascending = (x: Value): Value => {
    const places = builder.fresh('places')
    builder.nodes('TopK', [x, length], {
      attributes: { axis: 0, largest: 0 },
      outputs: [builder.fresh('sorted'), places]
    })
    return places
  }
  const places = ascending(all)
  const ids = integers(
    'ids',
    Array.from({ length: of.expertCount }, (_, expert) => expert)
  )
  const column = builder.node('Reshape', [ids, integers('column', [-1, 1])])
  const hits = builder.node('Cast', [builder.node('Equal', [column, all])], {
    attributes: { to: INT64 }
  })
  return {
    rows: builder.node('Div', [places, integers('most', [of.expertsPerToken])]),
    order: ascending(places),
    counts: builder.node('ReduceSum', [hits, integers('axis', [1])], {
      attributes: { keepdims: 0 }
    })
  }
}
