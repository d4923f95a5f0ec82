// Declares `petals pull MODEL`.
import { type Command, command, text } from '../command.ts'
import { DISK, MANIFEST, PEER_WEIGHTS, SWARM_OPTIONS } from '../common-options.ts'
import type { PullFlags } from '../run/pull.ts'

export const pull: Command = command<PullFlags>({
  name: 'pull',
  words: '<MODEL>',
  about: 'Fetch a model, or some of its blocks, before it is needed',
  options: {
    blocks: text('A:B', 'Blocks A to B-1 alone; default: all of the model'),
    disk: DISK,
    ...SWARM_OPTIONS,
    peerWeights: PEER_WEIGHTS,
    manifest: MANIFEST
  },
  examples: ['petals pull llama3.3-70b --blocks 0:20'],
  async run([model = ''], flags, context) {
    const { runPull } = await import('../run/pull.ts')
    return runPull(model, flags, context)
  }
})
