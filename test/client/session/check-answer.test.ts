import { expect, test } from 'bun:test'
import { isSoundTensor } from '../../../src/client/session/check-answer.ts'
import { encodeTensor } from '../../../src/wire/tensor.ts'
import type { WireDtype } from '../../../src/wire/types.ts'

test('values that no block makes are told from those that one may', () => {
  const sound = (dtype: WireDtype, value: number): boolean =>
    isSoundTensor(encodeTensor(Float32Array.of(1, value, -value, 0), 2, 2, dtype))
  const dtypes: WireDtype[] = ['f32', 'f16', 'bf16', 'int8']
  expect(dtypes.map((dtype) => sound(dtype, 60_000))).toEqual([true, true, true, true])
  expect(dtypes.map((dtype) => dtype === 'f16' || sound(dtype, 2e16))).toEqual([
    false,
    true,
    false,
    false
  ])
  const nan = new Uint8Array(8).fill(0xff)
  for (const [dtype, columns] of [
    ['f32', 2],
    ['f16', 4],
    ['bf16', 4],
    ['int8', 4]
  ] as const) {
    expect(isSoundTensor({ dtype, rows: 1, columns, data: nan })).toBe(false)
  }
})
