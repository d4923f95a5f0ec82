// Where CUDA's libraries lie, by onnxruntime's version: what --install-cuda fills and --device cuda
// uses.
import { join } from 'node:path'
import type { Paths } from '../../base/paths.ts'

export function cudaRoot(paths: Paths): string {
  return join(paths.data, 'cuda')
}
