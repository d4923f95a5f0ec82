// Declares `petals up MODEL`.
import { type Command, command, flag, text } from '../command.ts'
import { API_ADAPTER, CHAT_TEMPLATE } from '../common-options.ts'
import type { UpFlags } from '../run/up.ts'
import { JOIN_OPTIONS } from './join.ts'

export const up: Command = command<UpFlags>({
  name: 'up',
  words: '[MODEL]',
  about: 'For a home: serve a model, answer programs and show the page, in a swarm of your own',
  options: {
    join: text('line', 'The line that petals up printed on another machine of yours'),
    public: flag('Serve everybody, in the open swarm'),
    apiPort: text('n', 'TCP port for programs and the page, 0 for any (default: 8080)'),
    apiHost: text('address', 'Address for them (default: 127.0.0.1); others need --api-key'),
    apiKey: text('key', 'Demand this key of every request; @file reads it (PETALS_API_KEY)'),
    cors: text('origins', 'Sites whose pages may use it, with commas between, or *'),
    chatTemplate: CHAT_TEMPLATE,
    adapter: API_ADAPTER,
    ...JOIN_OPTIONS
  },
  examples: ['petals up smollm2-135m'],
  isServer: true,
  async run([model], flags, context) {
    const { runUp } = await import('../run/up.ts')
    return runUp(model, flags, context)
  }
})
