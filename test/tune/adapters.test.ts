// Adapters that peft made for the families' tiny models, as
// scripts/prove/tune/adapters-reference.py kept them: read here they give peft's logits, and
// written again they are the files that peft wrote.
import { describe, expect, test } from 'bun:test'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { readClassifier, readPeft, writePeft } from '../../src/tune/adapter/peft.ts'
import { readTensors, type FloatTensor } from '../../src/tune/adapter/safetensors-file.ts'
import { worst } from '../kernels/support/world.ts'
import { tempFolder } from '../support/temp-folder.ts'
import {
  adaptedClasses,
  adaptedLogits,
  openFixture,
  servedLogits
} from '../support/tune/adapted-logits.ts'

/** Of the largest logit: float32 on both sides. */
const TOLERANCE = 5e-5
/** Different ranks and factors become one, and blocks that are left out get zeros. */
const MADE_EVEN = new Set(['llama', 'llama3'])

const fixtures = join(import.meta.dir, '..', 'fixtures')
const folder = join(fixtures, 'adapters')
const floats = (base64: string): Float32Array =>
  new Float32Array(Uint8Array.fromBase64(base64).buffer)

function tensorsIn(path: string): [string, FloatTensor][] {
  const file = join(path, 'adapter_model.safetensors')
  const { tensors } = readTensors(new Uint8Array(readFileSync(file)), file)
  return [...tensors].toSorted(([a], [b]) => (a < b ? -1 : 1))
}

describe("peft's adapters", () => {
  for (const name of readdirSync(folder)) {
    test(`of ${name} give peft's logits`, async () => {
      const path = join(folder, name)
      const expected = JSON.parse(readFileSync(join(path, 'expected.json'), 'utf8')) as {
        rows: number
        logits: string
      }
      const { fixture, config } = await openFixture(name)
      const adapter = await readPeft(path, config)
      const logits = await adaptedLogits(fixture, adapter, expected.rows)
      expect(worst(logits, floats(expected.logits))).toBeLessThan(TOLERANCE)
      const served = await servedLogits(fixture, adapter, expected.rows)
      expect(worst(served, floats(expected.logits))).toBeLessThan(TOLERANCE)
      const zeros = { ...adapter, values: new Float32Array(adapter.values.length) }
      const plain = await adaptedLogits(fixture, zeros, expected.rows)
      // It matters whether there is an adapter.
      expect(worst(plain, floats(expected.logits))).toBeGreaterThan(0.01)
    })

    if (MADE_EVEN.has(name)) continue
    test(`of ${name} are written as peft writes them`, async () => {
      await using out = await tempFolder()
      const { config } = await openFixture(name)
      const adapter = await readPeft(join(folder, name), config)
      await writePeft(out.path, config, { adapter, base: name })
      expect(tensorsIn(out.path)).toEqual(tensorsIn(join(folder, name)))
    })
  }
})

describe("peft's adapters with a matrix for classes", () => {
  for (const name of readdirSync(join(fixtures, 'classifiers'))) {
    test(`of ${name} give peft's logits, and are written as peft writes them`, async () => {
      const path = join(fixtures, 'classifiers', name)
      const { logits } = JSON.parse(readFileSync(join(path, 'expected.json'), 'utf8')) as {
        logits: string
      }
      const { fixture, config } = await openFixture(name)
      const { adapter, classes } = await readClassifier(path, config)
      expect(classes.labels).toEqual(['LABEL_0', 'LABEL_1', 'LABEL_2'])
      const own = await adaptedClasses(fixture, adapter, classes.score)
      expect(worst(own, floats(logits))).toBeLessThan(TOLERANCE)
      await expect(readPeft(path, config)).rejects.toThrow("'modules_to_save' has 'classifier'")
      await using out = await tempFolder()
      const named = { ...classes, labels: ['no', 'yes', 'maybe'] }
      await writePeft(out.path, config, { adapter, base: name, classes: named })
      expect(tensorsIn(out.path)).toEqual(tensorsIn(path))
      expect((await readClassifier(out.path, config)).classes).toEqual(named)
    })
  }
})
