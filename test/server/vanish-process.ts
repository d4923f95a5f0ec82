// bun test/server/vanish-process.ts PORT KEY COUNT: connections that each open a session at the
// server KEY and begin a step, in a process that is there to be killed: its server hears no
// goodbye. Prints how many sessions are open.
import DHT from 'hyperdht'
import { freshSeed, seededRandom } from '../../src/base/random.ts'
import { hold } from '../support/hostile/attacks.ts'
import { targetOf } from '../support/hostile/raw-peer.ts'

const [port, key = '', count] = process.argv.slice(2)
const bootstrap = [{ host: '127.0.0.1', port: Number(port) }]
const dht = new DHT({ bootstrap, host: '127.0.0.1', firewalled: false })
await dht.fullyBootstrapped()
const target = await targetOf(new Uint8Array(Buffer.from(key, 'hex')))
const peers = await hold(dht, target, {
  connections: Number(count),
  random: seededRandom(freshSeed())
})
const open = peers.filter((peer) => !peer.closed && peer.count('opened') > 0).length
process.stdout.write(`${open}\n`)
