// Declares `petals plan MODEL`.
import { type Command, command, flag, text } from '../command.ts'
import {
  DEVICE,
  DISK,
  JSON_OUTPUT,
  KV,
  PEER_WEIGHTS,
  SWARM_OPTIONS,
  THREADS
} from '../common-options.ts'
import type { PlanFlags } from '../run/plan.ts'

export const plan: Command = command<PlanFlags>({
  name: 'plan',
  words: '<MODEL>',
  about: 'What fits here, and how fast it would be, before joining',
  options: {
    quant: text('type', 'native, f32, int8 or int4: what is measured (default: native)'),
    kv: KV,
    threads: THREADS,
    device: DEVICE,
    memory: text('size', 'As for join (default: 80% of free)'),
    disk: DISK,
    ...SWARM_OPTIONS,
    alone: flag('Leave the swarm out'),
    peerWeights: PEER_WEIGHTS,
    json: JSON_OUTPUT
  },
  async run([model = ''], flags, context) {
    const { runPlan } = await import('../run/plan.ts')
    return runPlan(model, flags, context)
  }
})
