// Declares `petals rm MODEL`.
import { type Command, command } from '../command.ts'

export const rm: Command = command<object>({
  name: 'rm',
  words: '<MODEL>',
  about: 'Remove a model from the cache',
  options: {},
  async run([model = ''], _flags, context) {
    const { runRm } = await import('../run/rm.ts')
    return runRm(model, context)
  }
})
