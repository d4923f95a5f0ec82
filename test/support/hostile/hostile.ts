// Spoils files by a seeded dice, and says what opening one came to.
import type { Random } from '../../../src/base/random.ts'
import { AppError } from '../../../src/base/errors.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { createTokenizer } from '../../../src/model/text/tokenizer.ts'
import type { ModelLocation } from '../../../src/model/types.ts'

/** Numbers that lengths, counts and offsets like to break at. */
const EDGES: readonly bigint[] = [
  0n,
  1n,
  2n,
  31n,
  0x7fn,
  0xffn,
  0xffffn,
  0x7fffffffn,
  0xffffffffn,
  0x100000000n,
  0x1fffffffffffffn,
  0x20000000000000n,
  0x7fffffffffffffffn,
  0xffffffffffffffffn
]

/** A copy with bytes changed, numbers replaced by edges, pieces cut out, doubled or cut off. */
export function spoil(
  bytes: Uint8Array,
  random: Random,
  within: number = bytes.byteLength
): Uint8Array {
  let out: Uint8Array = new Uint8Array(bytes) // slice() of a Buffer is no copy
  for (let times = 1 + random.below(3); times > 0; times--) {
    const at = random.below(Math.min(within, out.byteLength))
    switch (random.below(6)) {
      case 0:
        out[at] = random.below(256)
        break
      case 1:
        out[at]! ^= 1 << random.below(8)
        break
      case 2:
      case 3: {
        const view = new DataView(out.buffer, out.byteOffset, out.byteLength)
        const value = EDGES[random.below(EDGES.length)]!
        if (at + 8 <= out.byteLength) view.setBigUint64(at, value, true)
        break
      }
      case 4: {
        const length = Math.min(random.below(16), out.byteLength - at)
        out = Buffer.concat([out.subarray(0, at), out.subarray(at + length)])
        break
      }
      default:
        out = out.slice(0, at)
    }
    if (out.byteLength === 0) return out
  }
  return out
}

/** 'opened', the code of the AppError, or the whole of any other error, which no file may cause. */
export async function outcome(location: ModelLocation): Promise<string> {
  try {
    const model = await openModel(location)
    try {
      for (const { name } of model.tensors.list()) model.tensors.read(name)
      createTokenizer(model.tokenizer).encode('Once upon a time')
      return 'opened'
    } finally {
      model.close()
    }
  } catch (error) {
    if (error instanceof AppError) return error.code
    return `not an AppError: ${error instanceof Error ? error.stack : String(error)}`
  }
}
