// Options of from_pretrained(): where models and the swarm are found, and what computes here.
import { createLog, type LogLevel } from '../base/log.ts'
import { resolvePaths } from '../base/paths.ts'
import type { Device } from '../blocks/types.ts'
import type { WireDtype } from '../wire/types.ts'
import {
  booleanOption,
  choiceOption,
  namedOptions,
  textOption,
  textsOption,
  wholeOption
} from './named-options.ts'
import { parseHere } from './open/here.ts'
import { resolveAddresses } from './open/addresses.ts'
import type { PetalsOptions } from './petals.ts'
import { environment, type Surroundings } from './surroundings.ts'

/** Camel case is taken too. */
export interface PretrainedOptions {
  /** DHT nodes to start from, 'host:port' each. Default: PETALS_BOOTSTRAP, else the public ones. */
  initial_peers?: string | readonly string[]
  /** A private swarm: an invite, '@file', or a name made on this machine. */
  swarm?: string
  /** Meet on the local network. Default false. */
  lan?: boolean
  /** Blocks computed here: 'auto' (what fits and nobody serves), 'all', 'none', or 'A:B'. */
  here?: string
  /** How activations travel. Default: by the model's width. */
  wire?: WireDtype
  /** How exact the head is. Default: as the servers compute. */
  head?: 'native' | 'f32'
  threads?: number
  device?: Device
  /** Where models are kept. Default: as the commands do. */
  cache_dir?: string
  /** A token of the hub. Default: as the hub's own tools find it. */
  token?: string
  /** Bytes that weights and caches may take of memory. Default: most of what is free. */
  max_memory?: number
  /** Bytes that models may take of the disk. Default: what is free. */
  max_disk?: number
  /** Take weights from peers too. Default true. */
  peer_weights?: boolean
  /**
   * What answers run with: folders, GGUF files, owner/name of a hub or content ids, and `:weight`
   * behind them. `adapter` is the same.
   */
  adapters?: string | readonly string[]
  adapter?: string | readonly string[]
  /** Answers at once. Default 16. */
  parallel?: number
  /** Default 'warn', on stderr. */
  log_level?: LogLevel
  /** Ends everything. */
  signal?: AbortSignal
}

export const PRETRAINED_NAMES = [
  'initial_peers',
  'swarm',
  'lan',
  'here',
  'wire',
  'head',
  'threads',
  'device',
  'cache_dir',
  'token',
  'max_memory',
  'max_disk',
  'peer_weights',
  'adapters',
  'adapter',
  'parallel',
  'log_level',
  'signal'
] as const

const MOST_BYTES = Number.MAX_SAFE_INTEGER

/** @throws AppError BAD_INPUT for a name or a value that cannot be used */
export async function readPretrained(given: object): Promise<{
  surroundings: Surroundings
  petals: PetalsOptions
  adapters: readonly string[]
}> {
  const o = namedOptions({ ...given }, PRETRAINED_NAMES, 'from_pretrained()')
  const token = textOption('token', o.token)
  const env: Surroundings['env'] = {
    ...environment(),
    ...(token === undefined ? {} : { HF_TOKEN: token })
  }
  const cacheDir = textOption('cache_dir', o.cache_dir)
  const paths = resolvePaths(env)
  const peers = textsOption('initial_peers', o.initial_peers)
  const level = choiceOption('log_level', o.log_level, ['debug', 'info', 'warn', 'error'] as const)
  const swarm = textOption('swarm', o.swarm)
  const lan = booleanOption('lan', o.lan)
  return {
    surroundings: {
      paths: cacheDir === undefined ? paths : { ...paths, cache: cacheDir },
      log: createLog(level ?? 'warn'),
      bootstrap: await resolveAddresses(
        peers.length > 0 ? peers.join(',') : env['PETALS_BOOTSTRAP'] || undefined
      ),
      env,
      signal: (o.signal as AbortSignal | undefined) ?? new AbortController().signal
    },
    adapters: [...textsOption('adapters', o.adapters), ...textsOption('adapter', o.adapter)],
    petals: {
      ...(swarm === undefined ? {} : { swarm }),
      ...(lan === undefined ? {} : { lan }),
      here: parseHere(textOption('here', o.here)),
      dtype: choiceOption('wire', o.wire, ['f32', 'f16', 'bf16', 'int8'] as const),
      headQuant: choiceOption('head', o.head, ['native', 'f32'] as const),
      threads: wholeOption('threads', o.threads, 1, 1024),
      device: choiceOption('device', o.device, ['cpu', 'cuda', 'webgpu'] as const),
      memoryBytes: wholeOption('max_memory', o.max_memory, 1, MOST_BYTES),
      diskBytes: wholeOption('max_disk', o.max_disk, 1, MOST_BYTES),
      peerWeights: booleanOption('peer_weights', o.peer_weights),
      parallel: wholeOption('parallel', o.parallel, 1, 256)
    }
  }
}
