// The engine's backend for ONNX graphs.
import type { ComputeBackend } from '../engine/loaded-span.ts'
import type { Backend } from './backend.ts'
import { OnnxHead } from './onnx-head.ts'
import { OnnxSpan } from './onnx-span.ts'

export function onnxBackend(backend: Backend): ComputeBackend {
  return {
    buildInfo: backend.runtime.buildInfo,
    chunkRows: backend.chunkRows,
    loadSpan: (model, options, budget) => OnnxSpan.load(backend, budget, model, options),
    loadHead: (model, quant, budget) => OnnxHead.load(backend, budget, model, quant),
    [Symbol.dispose]: () => backend.runtime[Symbol.dispose]()
  }
}
