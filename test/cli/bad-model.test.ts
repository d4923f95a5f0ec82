// The program on models that cannot be served: its exit codes and words, for GGUF files and for
// folders.
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Ending, Program } from '../../scripts/processes.ts'
import { randomModel, writeModel } from '../families/support/random-model.ts'
import type { HubModel } from '../families/reference/model.ts'
import { openModel } from '../../src/model/open-model.ts'
import { writeGguf, type GgufSpec } from '../support/models/gguf-writer.ts'
import { storiesGguf } from '../support/models/stories-gguf.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { tempFolder, type TempFolder } from '../support/temp-folder.ts'

const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')

let folder: TempFolder
let bootstrap: Program
let address = ''
let spec: GgufSpec

beforeAll(async () => {
  folder = await tempFolder()
  bootstrap = petals(['bootstrap', '--port', '0'])
  const [, found = ''] = await bootstrap.match('stdout', /^(\d+(?:\.\d+){3}:\d+)\s*$/m, 30_000)
  address = found
  spec = storiesGguf(await openModel(storiesLocation))
}, 60_000)
afterAll(async () => {
  await bootstrap[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
})

function petals(args: readonly string[]): Program {
  return new Program([process.execPath, main, ...args], {
    env: { PATH: process.env['PATH'] ?? '', HOME: folder.path, PETALS_HOME: folder.path },
    input: ''
  })
}

type Refusal = Pick<Ending, 'code' | 'stdout' | 'stderr'>

async function join_(path: string): Promise<Refusal> {
  const args = ['join', path, '--bootstrap', address, '--blocks', '0:1', '--threads', '1']
  await using program = petals(args)
  const { code, stdout, stderr } = await program.end(60_000)
  return { code, stdout, stderr }
}

function refusal(code: number, words: RegExp): Refusal {
  return { code, stdout: '', stderr: expect.stringMatching(words) as string }
}

/** The first norm with a NaN in it; the file stays as it is for others. */
function withNaN(file: GgufSpec): GgufSpec {
  const tensors = file.tensors.map((tensor) => {
    if (tensor.name !== 'blk.0.attn_norm.weight') return tensor
    const bytes = new Uint8Array(tensor.bytes)
    new DataView(bytes.buffer).setFloat32(4, Number.NaN, true)
    return { ...tensor, bytes }
  })
  return { ...file, tensors }
}

const GGUFS: Readonly<Record<string, [(file: GgufSpec) => GgufSpec, number, RegExp]>> = {
  'weights that are no numbers': [
    withNaN,
    4,
    /^error: Tensor 'model\.layers\.0\.input_layernorm\.weight' cannot be used: it holds values that are no numbers\n {2}The file is damaged/m
  ],
  'a tensor that is missing': [
    (file) => ({
      ...file,
      tensors: file.tensors.filter(({ name }) => name !== 'blk.1.ffn_up.weight')
    }),
    4,
    /^error: The model cannot be opened: tensor 'model\.layers\.1\.mlp\.up_proj\.weight' is missing$/m
  ],
  'a tensor of another shape': [
    (file) => ({
      ...file,
      tensors: file.tensors.map((tensor) =>
        tensor.name === 'output_norm.weight'
          ? { ...tensor, shape: [63], bytes: tensor.bytes.subarray(0, 4 * 63) }
          : tensor
      )
    }),
    4,
    /^error: The model cannot be opened: tensor 'model\.norm\.weight' is \[63\], not \[64\]$/m
  ],
  'a family that is not known': [
    (file) => ({
      ...file,
      metadata: file.metadata.map((entry) =>
        entry.key === 'general.architecture' && entry.type === 'string'
          ? { ...entry, value: 'mamba' }
          : entry
      )
    }),
    2,
    /^error: .*'mamba'.*$/m
  ]
}

for (const [what, [change, code, words]] of Object.entries(GGUFS)) {
  test(`join of a GGUF with ${what} ends with ${code} and says so`, async () => {
    const path = await folder.write('bad.gguf', writeGguf(change(spec)))
    expect(await join_(path)).toEqual(refusal(code, words))
  }, 90_000)
}

const FOLDERS: Readonly<Record<string, [(model: HubModel) => HubModel, number, RegExp]>> = {
  'weights that are no numbers': [
    (model) => {
      const name = 'model.layers.0.mlp.up_proj.weight'
      const old = model.tensors.get(name)
      if (!old) throw new Error(`There is no '${name}'`)
      const values = old.values.with(5, Number.NaN)
      return { ...model, tensors: new Map(model.tensors).set(name, { ...old, values }) }
    },
    4,
    /^error: Tensor 'model\.layers\.0\.mlp\.up_proj\.weight' cannot be used: it holds values that are no numbers$/m
  ],
  'a family that is not known': [
    (model) => ({ ...model, config: { ...model.config, model_type: 'mamba' } }),
    2,
    /^error: .*'mamba'.*$/m
  ]
}

for (const [what, [change, code, words]] of Object.entries(FOLDERS)) {
  test(`join of a folder with ${what} ends with ${code} and says so`, async () => {
    const path = join(folder.path, `folder-${code}`)
    mkdirSync(path)
    writeModel(change(randomModel('llama', 1)), path)
    expect(await join_(path)).toEqual(refusal(code, words))
  }, 90_000)
}
