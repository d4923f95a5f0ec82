// Declares `petals service ACTION`.
import { type Command, command, text } from '../command.ts'
import type { ServiceFlags } from '../run/service.ts'
import { JOIN_OPTIONS } from './join.ts'

const USAGE = `service ACTION
  install MODEL [options]  keep petals join MODEL running, also after restarts
  remove [NAME|MODEL]      stop it and take it away
  status [NAME|MODEL]      whether it runs, and where its log is`

export const service: Command = command<ServiceFlags>({
  name: 'service',
  words: 'ACTION',
  choices: ['install', 'remove', 'status'],
  mostWords: 2,
  about: 'Servers that the system keeps running: install MODEL, remove, status',
  usage: USAGE,
  options: {
    name: text('name', "What the service is called (default: the model's name)"),
    ...JOIN_OPTIONS
  },
  examples: [
    'petals service install smollm2-135m --memory 4g --metrics-port 9400',
    'petals service install smollm2-135m --swarm @box.invite'
  ],
  // What it starts reads the file, each time: a value written down here would hide later changes.
  isConfigured: false,
  async run(words, flags, context) {
    const { runService } = await import('../run/service.ts')
    return runService(words, flags, context, JOIN_OPTIONS)
  }
})
