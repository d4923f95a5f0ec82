// `petals bootstrap`: runs a DHT node, for swarms that do not use the public ones.
import { unavailable } from '../../base/errors.ts'
import { startBootstrap } from '../../swarm/dht/bootstrap.ts'
import type { Context } from '../context.ts'
import { untilAborted } from '../lifetime.ts'
import { resolveAddresses } from '../../library/open/addresses.ts'
import { parseWhole } from '../options.ts'
import { print } from '../output.ts'

export interface BootstrapFlags {
  /** Only as typed: PETALS_BOOTSTRAP says where to meet, often at this very node. */
  bootstrap?: string | undefined
  host?: string | undefined
  port?: string | undefined
}

export async function runBootstrap(flags: BootstrapFlags, context: Context): Promise<void> {
  const port = parseWhole('port', flags.port, 0, 65_535)
  await using node = await startBootstrap({
    ...(flags.host === undefined ? {} : { host: flags.host }),
    ...(port === undefined ? {} : { port }),
    start: await resolveAddresses(flags.bootstrap),
    log: context.log
  })
  if (!node.joined) {
    throw unavailable(`Nobody answers at ${flags.bootstrap ?? ''}`, {
      hint: 'Start a node there first, or leave --bootstrap out to begin a DHT'
    })
  }
  await print(`${node.host}:${node.port}\n`)
  if (process.stderr.isTTY) {
    context.log.info(`Others start with --bootstrap ${node.host}:${node.port}; Ctrl-C ends it`)
  }
  await untilAborted(context.signal)
}
