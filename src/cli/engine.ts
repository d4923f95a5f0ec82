// Opens what a command needs according to its flags: the model by its name, with progress on
// stderr, and the compute worker.
import { formatBytes } from '../base/bytes.ts'
import { badInput } from '../base/errors.ts'
import { wholeMemoryBytes } from '../base/free-memory.ts'
import type { Compute } from '../blocks/compute.ts'
import type { Device } from '../blocks/types.ts'
import * as opening from '../library/open/model.ts'
import { startCompute as start, type StartComputeOptions } from '../library/open/compute.ts'
import { parseHere } from '../library/open/here.ts'
import type { SwarmOptions } from '../library/open/membership.ts'
import type { PetalsOptions } from '../library/petals.ts'
import type { Model } from '../model/types.ts'
import type { Context } from './context.ts'
import { manifestRoots, type ManifestFlags, type PeerFlags } from './peer-weights.ts'
import { stderrProgress } from './terminal/stderr.ts'
import { parseBytes, parseChoice, parseWhole } from './options.ts'

export interface EngineOptions {
  threads?: string | undefined
  device?: string | undefined
  memory?: string | undefined
  /** --disk: most bytes that models and their converted weights may take in the cache. */
  disk?: string | undefined
}

/** Flags of commands that answer. */
export interface PetalsFlags extends EngineOptions, SwarmOptions, PeerFlags, ManifestFlags {
  chatTemplate?: string | undefined
  here?: string | undefined
}

export interface OpenOptions extends Omit<opening.OpenModelOptions, 'diskBytes'> {
  /** --disk: most bytes of all models in the cache, e.g. 100g. */
  disk?: string | undefined
}

/** Finds or fetches a model, as far as needed, and opens it. @throws AppError */
export function openNamedModel(
  name: string,
  context: Context,
  { disk, ...options }: OpenOptions
): Promise<Model> {
  const diskBytes = parseBytes('disk', disk)
  return opening.openNamedModel(name, context, {
    progress: stderrProgress(),
    ...options,
    diskBytes
  })
}

/** Memory that this machine has. @throws AppError BAD_INPUT */
export function parseMemory(
  name: string,
  value: string | undefined,
  wholeBytes: number = wholeMemoryBytes()
): number | undefined {
  const bytes = parseBytes(name, value)
  if (bytes === undefined || bytes <= wholeBytes) return bytes
  throw badInput(`--${name} cannot be '${value}': this machine has ${formatBytes(wholeBytes)}`, {
    hint: 'Give less, or leave it out: 80% of what is free is taken then'
  })
}

/** The engine's options from flags. @throws AppError BAD_INPUT */
export function engineOptions(flags: EngineOptions): StartComputeOptions {
  return {
    threads: parseWhole('threads', flags.threads, 1, 1024),
    device: parseChoice<Device>('device', flags.device, ['cpu', 'cuda', 'webgpu']),
    memoryBytes: parseMemory('memory', flags.memory),
    diskBytes: parseBytes('disk', flags.disk)
  }
}

/**
 * What opens Petals from flags; more comes from those of the command. @throws AppError BAD_INPUT
 */
export function petalsOptions(flags: PetalsFlags): PetalsOptions {
  const { bootstrap, swarm, lan, chatTemplate, peerWeights } = flags
  return {
    ...engineOptions(flags),
    bootstrap,
    swarm,
    lan,
    chatTemplate,
    peerWeights,
    here: parseHere(flags.here),
    roots: manifestRoots(flags),
    progress: stderrProgress()
  }
}

/** Starts the compute worker; the caller closes it. @throws AppError */
export async function startCompute(flags: EngineOptions, context: Context): Promise<Compute> {
  return start(engineOptions(flags), context)
}
