// The parts of a block as nodes of an ONNX graph: for onnxruntime on CUDA and WebGPU.
import type { BlockParts, NormKind } from '../families/parts.ts'
import { attention } from './attention.ts'
import type { Value } from './builder.ts'
import { experts } from './experts.ts'
import { geglu, gelu, swiglu } from './mlp.ts'
import { norm } from './norms.ts'
import { linear, type BlockScope } from './parts.ts'

export function onnxParts(scope: BlockScope, kind: NormKind): BlockParts<Value> {
  return {
    config: scope.config,
    norm: (stream, part) => norm(scope, stream, { part, kind }),
    branchNorm: (residual, part) => norm(scope, { residual }, { part, kind }).normed,
    linear: (x, name) => linear(scope, x, name),
    attention: (qkv, options) => attention(scope, qkv, options),
    swiglu: (gateUp) => swiglu(scope, gateUp),
    geglu: (gateUp) => geglu(scope, gateUp),
    gelu: (x, of) => gelu(scope, x, of),
    experts: (x) => experts(scope, x),
    add: (a, b) => scope.builder.node('Add', [a, b])
  }
}
