// Declares `petals models`.
import { type Command, command } from '../command.ts'
import { JSON_OUTPUT } from '../common-options.ts'
import type { ModelsFlags } from '../run/models.ts'

export const models: Command = command<ModelsFlags>({
  name: 'models',
  about: 'What is in the cache, and how much of it is here',
  options: { json: JSON_OUTPUT },
  async run(_words, flags, context) {
    const { runModels } = await import('../run/models.ts')
    return runModels(flags, context)
  }
})
