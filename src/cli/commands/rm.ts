// Declares `petals rm MODEL`.
import { type Command, command, flag } from '../command.ts'
import type { RmFlags } from '../run/rm.ts'

export const rm: Command = command<RmFlags>({
  name: 'rm',
  words: '<MODEL>',
  about: 'Remove a model from the cache',
  options: { yes: flag('Do not ask, and remove it even while it is used') },
  async run([model = ''], flags, context) {
    const { runRm } = await import('../run/rm.ts')
    return runRm(model, flags, context)
  }
})
