// Options that several commands share, and those of every command.
import {
  flag,
  list,
  off,
  text,
  type FlagOption,
  type ListOption,
  type OffOption,
  type Options,
  type TextOption
} from './command.ts'
import { KV_TYPES } from './options.ts'

export const BOOTSTRAP: TextOption = text(
  'host:port',
  'DHT nodes to start from (PETALS_BOOTSTRAP); default: public'
)

export const SWARM_OPTIONS: {
  readonly bootstrap: TextOption
  readonly swarm: TextOption
  readonly lan: FlagOption
} = {
  bootstrap: BOOTSTRAP,
  swarm: text(
    'invite',
    'Private swarm: an invite, @file, - for stdin, or one made here (PETALS_SWARM)'
  ),
  lan: flag('Meet on the local network: needs no internet and no bootstrap node')
}

export const PEER_WEIGHTS: OffOption = off(
  'Take weights from the hub alone, and give none to other peers'
)

export const KV: TextOption = text(
  'type',
  'How keys and values are held on a CPU: f16, f32 or int8 (default: f16; f32 with --quant f32)',
  KV_TYPES
)

export const MANIFEST: TextOption = text(
  'root',
  'Believe peers with this manifest alone, as petals verify prints it (default: what all agree on)'
)

export const DISK: TextOption = text(
  'size',
  'Most disk for models, converted ones too, e.g. 100g (default: what is free)'
)

export const CHAT_TEMPLATE: TextOption = text(
  'file|name',
  "Chat template in place of the model's own: a file, or chatml, llama2, llama3, mistral, ..."
)

export const API_ADAPTER: ListOption = list(
  'name=adapter',
  'Offer model+name too: a folder, a .gguf, owner/name or a content id, and :weight, with commas between'
)

export const HERE: TextOption = text(
  'blocks',
  'Blocks that this process computes: auto, all, none, or e.g. 0:2, for which no server is asked (default: auto)'
)

export const THREADS: TextOption = text('n', 'Threads of the engine (default: cores - 1)')
export const DEVICE: TextOption = text('name', 'cpu, cuda or webgpu (default: cpu)', [
  'cpu',
  'cuda',
  'webgpu'
])
export const JSON_OUTPUT: FlagOption = flag('As JSON')

/** Of every command. */
export const GLOBAL_OPTIONS: Options = {
  logLevel: text('level', 'debug, info, warn or error', ['debug', 'info', 'warn', 'error']),
  logFormat: text(
    'format',
    'Lines on stderr as text, or as json: one object a line (default: text)',
    ['text', 'json']
  ),
  debug: flag('Tell everything, with stacks'),
  help: flag('Show this text'),
  version: flag('Show what the program is made of')
}
