// Declares `petals ls`.
import { type Command, command } from '../command.ts'
import { JSON_OUTPUT, SWARM_OPTIONS } from '../common-options.ts'
import type { LsFlags } from '../run/ls.ts'

export const ls: Command = command<LsFlags>({
  name: 'ls',
  about: 'Models that are served in the swarm',
  options: { ...SWARM_OPTIONS, json: JSON_OUTPUT },
  async run(_words, flags, context) {
    const { runLs } = await import('../run/ls.ts')
    return runLs(flags, context)
  }
})
