// Other ways in which GGUFs hold experts.
import type { GgufSpec } from '../../support/models/gguf-writer.ts'

/** As old files of Mixtral have experts: a tensor for each. */
export function apartGguf(spec: GgufSpec): GgufSpec {
  const tensors = spec.tensors.flatMap((tensor) => {
    const stem = /^(.*)_exps\.weight$/.exec(tensor.name)?.[1]
    if (stem === undefined) return [tensor]
    const [count = 0, ...shape] = tensor.shape
    const size = tensor.bytes.byteLength / count
    return Array.from({ length: count }, (_, expert) => ({
      ...tensor,
      name: `${stem}.${expert}.weight`,
      shape,
      bytes: tensor.bytes.subarray(expert * size, (expert + 1) * size)
    }))
  })
  return { ...spec, tensors }
}

/** Experts in Q8_0: 32 int8 values behind a float16 scale. */
export function inQ8(spec: GgufSpec): GgufSpec {
  const tensors = spec.tensors.map((tensor) => {
    if (!tensor.name.endsWith('_exps.weight')) return tensor
    const values = new Float32Array(tensor.bytes.slice().buffer)
    const bytes = new Uint8Array((values.length / 32) * 34)
    const view = new DataView(bytes.buffer)
    for (let block = 0; block < values.length / 32; block++) {
      const part = values.subarray(block * 32, (block + 1) * 32)
      const scale = Math.max(...part.map(Math.abs)) / 127
      view.setFloat16(block * 34, scale, true)
      for (const [i, value] of part.entries()) view.setInt8(block * 34 + 2 + i, value / scale)
    }
    return { ...tensor, type: 'Q8_0' as const, bytes }
  })
  return { ...spec, tensors }
}
