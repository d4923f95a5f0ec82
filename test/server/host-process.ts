// bun test/server/host-process.ts PORT: a Host of stories260K over a loopback bootstrap at PORT,
// alone in its process so that its memory can be measured. Prints its key, then answers each line
// of stdin with a line of what it holds. Ends with its stdin.
import { createInterface } from 'node:readline'
import { Compute } from '../../src/blocks/compute.ts'
import { openModel } from '../../src/model/open-model.ts'
import { Host, type HostLoad } from '../../src/server/host.ts'
import { createIdentity } from '../../src/swarm/identity.ts'
import { SwarmNode } from '../../src/swarm/node.ts'
import { storiesLocation } from '../support/models/stories.ts'

/** What a line of stdout says. */
export interface HostState extends HostLoad {
  readonly engineSessions: number
  readonly kvBytes: number
  /** What is kept of sessions that ended, as the server counts it. */
  readonly keptBytes: number
  readonly rssBytes: number
  readonly heapBytes: number
}

async function serve(port: number): Promise<void> {
  await using compute = new Compute({ threads: 1, memoryBytes: 1024 ** 3 })
  await compute.ready()
  await using node = new SwarmNode({
    bootstrap: [{ host: '127.0.0.1', port }],
    identity: createIdentity()
  })
  await using host = new Host({
    compute,
    model: await openModel(storiesLocation),
    blocks: { start: 0, end: 5 },
    quant: 'f32',
    node
  })
  await host.ready()
  process.stdout.write(`${host.peer}\n`)
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === 'gc') Bun.gc(true)
    const { sessions, kvBytes } = await compute.stats()
    const { rss, heapUsed } = process.memoryUsage()
    const state: HostState = {
      ...host.load,
      engineSessions: sessions,
      kvBytes,
      keptBytes: host.load.keptTokens * host.span.kvBytesPerToken,
      rssBytes: rss,
      heapBytes: heapUsed
    }
    process.stdout.write(`${JSON.stringify(state)}\n`)
  }
}

if (import.meta.main) await serve(Number(process.argv[2]))
