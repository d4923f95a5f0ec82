// Declares `petals status MODEL`.
import { type Command, command } from '../command.ts'
import { JSON_OUTPUT, PEER_WEIGHTS, SWARM_OPTIONS } from '../common-options.ts'
import type { StatusFlags } from '../run/status.ts'

export const status: Command = command<StatusFlags>({
  name: 'status',
  words: '<MODEL>',
  about: 'Who serves which blocks, how fast, and what is missing',
  options: { ...SWARM_OPTIONS, json: JSON_OUTPUT, peerWeights: PEER_WEIGHTS },
  async run([model = ''], flags, context) {
    const { runStatus } = await import('../run/status.ts')
    return runStatus(model, flags, context)
  }
})
