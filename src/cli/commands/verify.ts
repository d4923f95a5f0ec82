// Declares `petals verify MODEL`.
import { type Command, command } from '../command.ts'

export const verify: Command = command<object>({
  name: 'verify',
  words: '<MODEL>',
  about: 'Check a model in the cache against its hashes',
  options: {},
  async run([model = ''], _flags, context) {
    const { runVerify } = await import('../run/verify.ts')
    return runVerify(model, context)
  }
})
