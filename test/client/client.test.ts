import { expect, test } from 'bun:test'
import { chooseDtype } from '../../src/client/client.ts'
import type { Family } from '../../src/model/types.ts'

test('activations travel exactly where that costs little, and in bf16 where f16 cannot hold them', () => {
  const choose = (family: Family, hiddenSize: number, ...quants: ('native' | 'f32')[]): string =>
    chooseDtype(
      { family, hiddenSize },
      quants.map((quant) => ({ quant }))
    )
  expect([
    choose('llama', 576),
    choose('llama', 2048, 'native'),
    choose('llama', 4096),
    choose('llama', 4096, 'native'),
    choose('llama', 4096, 'native', 'f32'),
    choose('gemma3', 1152),
    choose('gemma2', 3584, 'native'),
    choose('gemma3', 3840, 'native'),
    choose('gemma3', 3840, 'f32')
  ]).toEqual(['f32', 'f32', 'f16', 'f16', 'f32', 'f32', 'bf16', 'bf16', 'f32'])
})
