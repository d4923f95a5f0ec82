// The operations between the matrices of an MLP.
import { float, MICROSOFT, type Value } from './builder.ts'
import type { BlockScope } from './parts.ts'

/** SwiGLU of gate and up side by side (1, count, 2 * ffn): silu(gate) * up. */
export function swiglu(scope: BlockScope, gateUp: Value): Value {
  const [gate, up] = halves(scope, gateUp)
  return scope.builder.node('Mul', [silu(scope, gate), up])
}

/** The same with GELU, approximated by tanh. */
export function geglu(scope: BlockScope, gateUp: Value): Value {
  const [gate, up] = halves(scope, gateUp)
  return scope.builder.node('Mul', [gelu(scope, gate, 'tanh'), up])
}

/** Exact GELU, or its approximation by tanh. */
export function gelu(scope: BlockScope, x: Value, kind: 'erf' | 'tanh'): Value {
  return scope.builder.node(kind === 'erf' ? 'Gelu' : 'FastGelu', [x], { domain: MICROSOFT })
}

/** QuickGelu with alpha 1 is x * sigmoid(x), in one operator. */
function silu(scope: BlockScope, x: Value): Value {
  return scope.builder.node('QuickGelu', [x], {
    domain: MICROSOFT,
    attributes: { alpha: float(1) }
  })
}

function halves(scope: BlockScope, x: Value): [Value, Value] {
  const { builder } = scope
  const parts: [Value, Value] = [builder.fresh('gate'), builder.fresh('up')]
  builder.nodes('Split', [x], { attributes: { axis: -1, num_outputs: 2 }, outputs: parts })
  return parts
}
