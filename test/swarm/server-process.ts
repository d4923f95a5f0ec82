// bun test/swarm/server-process.ts PORT FIRST LAST: a server of a loopback swarm in a process of
// its own, so that a test can kill it. Prints its key when others can find it.
import { createIdentity } from '../../src/swarm/identity.ts'
import { SwarmNode } from '../../src/swarm/node.ts'
import { infoOf } from './world.ts'

const [port, first, last] = process.argv.slice(2).map(Number)
const node = new SwarmNode({
  bootstrap: [{ host: '127.0.0.1', port: port ?? 0 }],
  identity: createIdentity()
})
await node.ready()
await node.serve(infoOf(first ?? 0, last ?? 0))
process.stdout.write(`${node.peer}\n`)
