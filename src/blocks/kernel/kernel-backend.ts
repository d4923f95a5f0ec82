// The engine's backend for our own kernels.
import { ARITHMETIC } from '../../kernels/arithmetic.ts'
import type { ComputeBackend } from '../engine/loaded-span.ts'
import { PagedSpan } from '../engine/paged-span.ts'
import { MAX_ROWS, type KernelContext } from './kernel-context.ts'
import { KernelHead } from './kernel-head.ts'
import { KernelSpan } from './kernel-span.ts'

export function kernelBackend(context: KernelContext): ComputeBackend {
  const { kernels, runner } = context
  return {
    buildInfo: `${ARITHMETIC}, ${kernels.variant}`,
    arithmetic: ARITHMETIC,
    chunkRows: MAX_ROWS,
    async loadSpan(model, options, budget) {
      return new PagedSpan(await KernelSpan.load(context, budget, model, options), budget)
    },
    loadHead: (model, quant, budget) => KernelHead.load(context, budget, model, quant),
    [Symbol.dispose]: () => runner[Symbol.dispose]()
  }
}
