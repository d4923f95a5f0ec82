// Which tensors a peer needs: a server for its blocks, a client for embedding and head.
import type { TensorStore } from './types.ts'

const BLOCK = /^model\.layers\.(\d+)\./
/** Small, and needed by every server: RoPE's factors. */
const SHARED: ReadonlySet<string> = new Set(['rope_freqs.weight'])

/** Canonical names of the tensors of blocks [start, end). */
export function blockTensorNames(tensors: TensorStore, start: number, end: number): string[] {
  return namesOf(tensors, (block, name) =>
    block === undefined ? SHARED.has(name) : block >= start && block < end
  )
}

/** Canonical names of the embedding, the final norm and the head, with their biases. */
export function clientTensorNames(tensors: TensorStore): string[] {
  return namesOf(tensors, (block, name) => block === undefined && !SHARED.has(name))
}

function namesOf(
  tensors: TensorStore,
  isNeeded: (block: number | undefined, name: string) => boolean
): string[] {
  const names = tensors.list().map((info) => info.name)
  return names.filter((name) => {
    const block = BLOCK.exec(name)?.[1]
    return isNeeded(block === undefined ? undefined : Number(block), name)
  })
}
