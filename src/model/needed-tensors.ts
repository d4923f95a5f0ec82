// Which tensors a part of the swarm needs: what a server must have for its blocks, and a client for
// its ends.
import type { TensorStore } from './types.ts'

const BLOCK = /^model\.layers\.(\d+)\./
/** Small, and read by every server: RoPE's factors. */
const SHARED: ReadonlySet<string> = new Set(['rope_freqs.weight'])

/** Canonical names of what blocks [start, end) are made of. */
export function blockTensorNames(tensors: TensorStore, start: number, end: number): string[] {
  return namesOf(tensors, (block, name) =>
    block === undefined ? SHARED.has(name) : block >= start && block < end
  )
}

/** Canonical names of the embedding, the last norm and the head, with what belongs to them. */
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
