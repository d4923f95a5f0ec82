// Declares `petals api [MODEL...]`.
import { type Command, command, text } from '../command.ts'
import {
  API_ADAPTER,
  CHAT_TEMPLATE,
  DEVICE,
  DISK,
  HERE,
  MANIFEST,
  PEER_WEIGHTS,
  SWARM_OPTIONS,
  THREADS
} from '../common-options.ts'
import type { ApiFlags } from '../run/api.ts'

export const api: Command = command<ApiFlags>({
  name: 'api',
  words: '[MODEL...]',
  mostWords: 64,
  about: "Serve models to programs: OpenAI's and Anthropic's HTTP interfaces",
  options: {
    ...SWARM_OPTIONS,
    port: text('n', 'TCP port, 0 for any (default: 8080)'),
    host: text('address', 'Address to listen at (default: 127.0.0.1); others need --api-key'),
    apiKey: text('key', 'Demand this key of every request; @file reads it (PETALS_API_KEY)'),
    cors: text('origins', 'Sites whose pages may use it, with commas between, or *'),
    chatTemplate: CHAT_TEMPLATE,
    adapter: API_ADAPTER,
    parallel: text('n', 'Answers of one model at once; more wait (default: 16)'),
    here: HERE,
    memory: text('size', 'Most memory for blocks that run here, e.g. 8g (default: 80% of free)'),
    threads: THREADS,
    device: DEVICE,
    disk: DISK,
    peerWeights: PEER_WEIGHTS,
    manifest: MANIFEST
  },
  examples: [
    'petals api smollm2-135m',
    'OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=none python my_program.py'
  ],
  isServer: true,
  async run(words, flags, context) {
    const { runApi } = await import('../run/api.ts')
    return runApi(words, flags, context)
  }
})
