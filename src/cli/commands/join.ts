// Declares `petals join MODEL`.
import { type Command, command, list, off, type OptionsFor, text } from '../command.ts'
import {
  DEVICE,
  DISK,
  KV,
  MANIFEST,
  PEER_WEIGHTS,
  SWARM_OPTIONS,
  THREADS
} from '../common-options.ts'
import type { JoinFlags } from '../run/join.ts'

/** Of a server, however it is started. */
export const JOIN_OPTIONS: OptionsFor<JoinFlags> = {
  blocks: text(
    'A:B',
    'Blocks A to B-1, for good; default: as many as fit, where the swarm is weakest, now and later'
  ),
  quant: text(
    'type',
    "How weights are held: native (the file's own), f32, f16, int8 or int4 (default: native)",
    ['native', 'f32', 'f16', 'int8', 'int4']
  ),
  kv: KV,
  threads: THREADS,
  device: DEVICE,
  memory: text('size', 'Most memory for weights and sessions, e.g. 8g (default: 80% of free)'),
  disk: DISK,
  prefixCache: text(
    'size',
    'Memory for what ended sessions leave for an hour, or off (default: half of that for sessions)'
  ),
  tune: off('Compute no steps of trainings: chats only'),
  tuneMemory: text('size', 'Most memory for steps of trainings that wait (default: 512m)'),
  adapters: list(
    'name',
    'Hold an adapter for everybody who knows its id: a folder, a .gguf or owner/name; for more give it again'
  ),
  adapterMemory: text(
    'size',
    'Memory for adapters of sessions, or off (default: a sixteenth of that for sessions, at most 1g)'
  ),
  ...SWARM_OPTIONS,
  port: text('port', 'UDP port (default: any)'),
  host: text('ip', 'Address to listen on (default: all, or loopback with its bootstrap)'),
  identity: text('folder', "Where this server's key lies (default: one per model and server)"),
  peerWeights: PEER_WEIGHTS,
  manifest: MANIFEST,
  uploadLimit: text('size', 'Most bytes a second of weights given to others (default: 10m)'),
  metricsPort: text(
    '[ip:]port',
    'Answer /metrics (Prometheus) and /health there, on loopback without an address (default: nowhere)'
  )
}

export const join: Command = command<JoinFlags>({
  name: 'join',
  words: '<MODEL>',
  about: 'Serve blocks of a model',
  options: JOIN_OPTIONS,
  examples: ['petals join smollm2-135m --blocks 0:10 --bootstrap 127.0.0.1:49737'],
  isServer: true,
  async run([model = ''], flags, context) {
    const { runJoin } = await import('../run/join.ts')
    return runJoin(model, flags, context)
  }
})
