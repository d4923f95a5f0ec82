// Training steps of every family on the device, beside the CPU's kernels: rows forwards, and the
// gradients of rows and of an adapter. Families with experts must say that they take none.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Compute } from '../../src/blocks/compute.ts'
import { adapterNumbers, adapterParts } from '../../src/blocks/train/adapter-shape.ts'
import type { TrainResult } from '../../src/blocks/train/train-types.ts'
import type { Quant, SpanInfo } from '../../src/blocks/types.ts'
import { openModel } from '../../src/model/open-model.ts'
import type { ModelConfig, ModelLocation } from '../../src/model/types.ts'
import { meanError } from '../../test/families/support/run.ts'
import { Numbers } from '../../test/kernels/support/world.ts'
import { randomModelFile } from '../bench/parts/random-model.ts'
import { computeOn, within, type Place, type Tally } from './device.ts'

/**
 * Root of the mean squared difference, of the CPU's own. Rows stay floats on both, but CUDA
 * multiplies f32 with 10 bits of mantissa. Rounded to int8, weights differ a little between the
 * two, and these networks double what differs at each matrix: of qwen2's gradients that is 0.3 on
 * a CPU, of the others 0.06 or less. A file's own 4 bits are the same on both.
 */
const BOUNDS = { f32: 2e-2, int8: 0.5, native: 2e-2 } as const satisfies Partial<
  Record<Quant, number>
>
/** Two sequences. */
const LENGTHS = [9, 14]
const ROWS = 23

export async function proveTraining(place: Place, tally: Tally): Promise<void> {
  const folder = join(place.root, 'test', 'fixtures', 'families')
  await using device = computeOn(place, place.device)
  await using cpu = computeOn(place, 'cpu')
  const compare = async (location: ModelLocation, quant: keyof typeof BOUNDS): Promise<string> => {
    const model = await openModel(location)
    model.close()
    const { config } = model
    const options = { location, start: 0, end: config.blockCount, quant }
    const span = await device.loadSpan(options)
    if (config.expertCount !== undefined) {
      if (span.trains === true) throw new Error('It says that it trains through experts')
      return 'takes no training, and says so'
    }
    if (span.trains !== true) throw new Error('It says that it takes no training')
    const actual = await trained(device, span, config)
    const own = await cpu.loadSpan(options)
    const expected = await trained(cpu, own, config)
    const errors = actual.map((values, i) => meanError(values, expected[i] ?? values))
    await device.unloadSpan(span.span)
    await cpu.unloadSpan(own.span)
    return within(quant, Math.max(...errors), BOUNDS[quant])
  }
  for (const name of readdirSync(folder).sort()) {
    const location: ModelLocation = { kind: 'folder', paths: [join(folder, name)] }
    await tally.check(`training ${name}`, async () => {
      return `${await compare(location, 'f32')}; ${await compare(location, 'int8')}`
    })
  }
  await tally.check('training two blocks of 1.1B in 4 bits', () => {
    const paths = [randomModelFile(place.folder, 'random-long')]
    return compare({ kind: 'gguf', paths }, 'native')
  })
}

/** Rows forwards, and gradients of rows and of an adapter. */
async function trained(
  compute: Compute,
  { span }: SpanInfo,
  config: ModelConfig
): Promise<readonly Float32Array[]> {
  const range = { start: 0, end: config.blockCount }
  const numbers = new Numbers(7)
  const shape = { rank: 3, scale: 2, targets: adapterParts(config).map(({ target }) => target) }
  const values = numbers.floats(adapterNumbers(config, shape, range), 0.02)
  const rows = (): Float32Array => numbers.floats(ROWS * config.hiddenSize)
  const [hidden, gradient] = [rows(), rows()]
  const step = (back: boolean): Promise<TrainResult> =>
    compute.train({
      span,
      range,
      lengths: LENGTHS,
      hidden: hidden.slice(),
      gradient: back ? gradient.slice() : undefined,
      adapter: { shape, values: values.slice() }
    })
  const forward = await step(false)
  const { hidden: back, adapterGradient } = await step(true)
  if (adapterGradient === undefined) throw new Error('An adapter has no gradient')
  return [forward.hidden, back, adapterGradient]
}
