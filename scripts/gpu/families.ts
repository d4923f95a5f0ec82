// Blocks and heads of every family on the device, beside the CPU's kernels: test/fixtures/families.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Compute } from '../../src/blocks/compute.ts'
import type { Quant } from '../../src/blocks/types.ts'
import type { ModelLocation } from '../../src/model/types.ts'
import { meanError, Runner } from '../../test/families/support/run.ts'
import { computeOn, within, type Place, type Tally } from './device.ts'

/**
 * Root of the mean squared difference of logits, of their own. CUDA multiplies f32 with 10 bits of
 * mantissa; kernels round rows to int8 where devices may not, and these networks double what
 * differs at each matrix.
 */
const BOUNDS = { f32: 1e-2, int8: 0.15 } as const satisfies Partial<Record<Quant, number>>

export async function proveFamilies(place: Place, tally: Tally): Promise<void> {
  const folder = join(place.root, 'test', 'fixtures', 'families')
  await using device = computeOn(place, place.device)
  await using cpu = computeOn(place, 'cpu')
  for (const name of readdirSync(folder).sort()) {
    await tally.check(name, async () => {
      const location: ModelLocation = { kind: 'folder', paths: [join(folder, name)] }
      const text = readFileSync(join(folder, name, 'expected.json'), 'utf8')
      const { ids } = JSON.parse(text) as { ids: number[] }
      const found: string[] = []
      for (const quant of ['f32', 'int8'] as const) {
        const expected = await logits(cpu, location, ids, { quant, size: ids.length })
        let worst = 0
        // Whole, and in pieces: the device's KV goes on from step to step.
        for (const size of [ids.length, 5, 1]) {
          const actual = await logits(device, location, ids, { quant, size })
          worst = Math.max(worst, meanError(actual, expected))
        }
        found.push(within(quant, worst, BOUNDS[quant]))
      }
      return found.join('; ')
    })
  }
}

async function logits(
  compute: Compute,
  location: ModelLocation,
  ids: readonly number[],
  { quant, size }: { quant: Quant; size: number }
): Promise<Float32Array> {
  await using runner = await Runner.load(compute, location, { quant, cuts: [1] })
  return runner.head(await (await runner.session()).feedBy(size, ids))
}
