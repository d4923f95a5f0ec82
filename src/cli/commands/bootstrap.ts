// Declares `petals bootstrap`.
import { type Command, command, text } from '../command.ts'
import type { BootstrapFlags } from '../run/bootstrap.ts'

export const bootstrap: Command = command<BootstrapFlags>({
  name: 'bootstrap',
  about: 'Run DHT nodes of your own; prints the address for --bootstrap of others',
  options: {
    host: text(
      'ip',
      'IPv4 address that others reach it under; 0.0.0.0: the one of this machine (default: 127.0.0.1, for this machine alone)'
    ),
    port: text('port', 'UDP port, and the three after it; 0 for any (default: 49737)'),
    bootstrap: text('host:port', 'Become part of the DHT of these nodes; default: begin one')
  },
  examples: ['petals bootstrap --host 192.168.1.5'],
  isServer: true,
  async run(_words, flags, context) {
    const { runBootstrap } = await import('../run/bootstrap.ts')
    return runBootstrap(flags, context)
  }
})
