// Reads a fixture's folder without the code that is tested.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Floats {
  readonly shape: readonly number[]
  readonly values: Float32Array
}

export type Config = Readonly<Record<string, unknown>>
export type Tensors = ReadonlyMap<string, Floats>

/** The fixture's config.json and tensors under the hub's names. */
export function readFolder(folder: string): { config: Config; tensors: Tensors } {
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Config
  const file = readFileSync(join(folder, 'model.safetensors'))
  const length = Number(file.readBigUInt64LE(0))
  const header = JSON.parse(file.toString('utf8', 8, 8 + length)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >
  const tensors = new Map<string, Floats>()
  for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue
    const bytes = new Uint8Array(file.subarray(8 + length + offsets[0], 8 + length + offsets[1]))
    tensors.set(name, { shape: shape ?? [], values: floats(dtype, bytes) })
  }
  return { config, tensors }
}

function floats(dtype: string, bytes: Uint8Array): Float32Array {
  switch (dtype) {
    case 'F32':
      return new Float32Array(bytes.buffer)
    case 'F16':
      return new Float32Array(new Float16Array(bytes.buffer))
    case 'BF16': {
      const words = Uint32Array.from(new Uint16Array(bytes.buffer), (half) => half << 16)
      return new Float32Array(words.buffer)
    }
    default:
      throw new TypeError(dtype)
  }
}
