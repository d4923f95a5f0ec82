// A training's state in one file that appears whole: parameters, what the optimiser remembers, how
// far it came and with which settings. Going on from it gives the bits of not having stopped.
import { readFile } from 'node:fs/promises'
import { badInput, corrupt } from '../base/errors.ts'
import { fileError } from '../base/files/file-error.ts'
import { replaceFile } from '../base/files/replace-file.ts'
import { readTensors, safetensors } from './adapter/safetensors-file.ts'
import type { OptimiserStates } from './optimise/optimiser.ts'
import { VALUE_NAMES, type TuneValues } from './parameters.ts'

export interface Checkpoint {
  /** Steps done. */
  readonly step: number
  /** What must be the same for going on: model, data, shape, order. */
  readonly settings: Readonly<Record<string, unknown>>
  readonly values: TuneValues
  readonly states: OptimiserStates
}

/** Settings whose values tell people nothing. */
const HASHES: ReadonlySet<string> = new Set(['model', 'data'])

/** @throws what the file system says, e.g. of a full disk; what was there stays */
export async function writeCheckpoint(path: string, checkpoint: Checkpoint): Promise<void> {
  const { step, settings, values, states } = checkpoint
  const tensors = VALUE_NAMES.flatMap((name) => {
    const [list, state] = [values[name], states[name]]
    if (list === undefined || state === undefined) return []
    const shape = [list.length]
    return [
      { name, shape, values: list },
      { name: `${name}.mean`, shape, values: state.mean },
      { name: `${name}.square`, shape, values: state.square }
    ]
  })
  const facts = { step: String(step), settings: JSON.stringify(settings) }
  await replaceFile(path, safetensors(tensors, facts))
}

/**
 * The state of a training with the same settings; undefined where there is none.
 * @throws AppError BAD_INPUT when settings differ, CORRUPT
 */
export async function readCheckpoint(
  path: string,
  settings: Checkpoint['settings']
): Promise<Checkpoint | undefined> {
  let bytes: Buffer
  try {
    bytes = await readFile(path)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw fileError(`'${path}' cannot be read`, cause)
  }
  const { tensors, facts } = readTensors(new Uint8Array(bytes), path)
  const step = Number(facts['step'])
  if (!Number.isSafeInteger(step) || step < 0) throw corrupt(`'${path}' does not say its step`)
  checkSame(facts['settings'], settings, path)
  const values: Record<string, Float32Array> = {}
  const states: OptimiserStates = {}
  for (const name of VALUE_NAMES) {
    const [list, mean, square] = [name, `${name}.mean`, `${name}.square`].map((one) =>
      tensors.get(one)
    )
    if (list === undefined) continue
    if (
      mean?.values.length !== list.values.length ||
      square?.values.length !== mean.values.length
    ) {
      throw corrupt(`'${path}' lacks what the optimiser remembers of '${name}'`)
    }
    values[name] = list.values
    states[name] = { step, mean: mean.values, square: square.values }
  }
  return { step, settings, values, states }
}

function checkSame(
  found: string | undefined,
  settings: Checkpoint['settings'],
  path: string
): void {
  const before = parsed(found, path)
  const changed = Object.keys(settings).find(
    (key) => JSON.stringify(before[key]) !== JSON.stringify(settings[key])
  )
  if (changed === undefined) return
  const [was, is] = [before[changed], settings[changed]].map((value) => JSON.stringify(value))
  const how = HASHES.has(changed) ? 'is another now' : `was ${was} and is ${is} now`
  throw badInput(`The training in '${path}' cannot go on: its '${changed}' ${how}`, {
    hint: 'Give the options that it began with, or another --out'
  })
}

function parsed(text: string | undefined, path: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text ?? '')
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // Told below.
  }
  throw corrupt(`'${path}' does not say how its training began`)
}
