// Mixtral: two of four experts for each token; experts as GGUFs have them.
import { afterAll, expect, test } from 'bun:test'
import { Compute } from '../../src/blocks/compute.ts'
import { writeGguf } from '../support/models/gguf-writer.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { readFixture } from './support/fixture.ts'
import { fixtureGguf } from './support/gguf.ts'
import { apartGguf, inQ8 } from './support/gguf-experts.ts'
import { proveFixture, proveGguf, proveLong, proveRandom } from './support/prove.ts'
import { worstError } from '../support/errors.ts'
import { meanError, Runner } from './support/run.ts'

const compute = new Compute({ threads: 2 })
afterAll(() => compute.close())

proveFixture(compute, 'mixtral')

proveGguf(compute, 'mixtral')

proveRandom(compute, 'mixtral', 5)
proveLong(compute, 'mixtral')

test('mixtral: an old GGUF with a tensor for each expert gives the same', async () => {
  await using folder = await tempFolder()
  const fixture = readFixture('mixtral')
  const path = await folder.write('m.gguf', writeGguf(apartGguf(fixtureGguf(fixture))))
  await using runner = await Runner.load(compute, { kind: 'gguf', paths: [path] })
  const rows = await (await runner.session()).feed(fixture.ids, 0)
  expect(worstError(await runner.head(rows), fixture.logits)).toBeLessThan(2e-5)
})

test('mixtral: Q8_0 experts out of one tensor are held exactly', async () => {
  await using folder = await tempFolder()
  const fixture = readFixture('mixtral')
  const path = await folder.write('m.gguf', writeGguf(inQ8(fixtureGguf(fixture))))
  const logits: Float32Array[] = []
  for (const quant of ['f32', 'native'] as const) {
    await using runner = await Runner.load(compute, { kind: 'gguf', paths: [path] }, { quant })
    const rows = await (await runner.session()).feedBy(6, fixture.ids)
    logits.push(await runner.head(rows))
  }
  const [exact, native] = logits as [Float32Array, Float32Array]
  // The same weights; 'native' rounds activations to int8.
  expect(meanError(native, exact)).toBeLessThan(0.15)
  expect(meanError(native, exact)).toBeGreaterThan(0)
})
