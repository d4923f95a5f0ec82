// Whole hyperdht nodes and hyperswarm for node-peer.cjs: testnets, echo servers, relays, swarms.
const { createHash, writeSeeded } = require('./peer-payload.cjs')

module.exports = function dhtCommands(load) {
  const nodes = []
  const servers = []
  const swarms = []

  const nodeAt = (index) => nodes[index]
  const keep = (list, item) => list.push(item) - 1

  return {
    async testnet({ size = 3 }) {
      const testnet = await load('hyperdht/testnet')(size)
      return { testnet: keep(nodes, testnet), bootstrap: testnet.bootstrap }
    },

    /**
     * An `open` node is connected to straight away. Others are punched to, which on loopback hyperdht
     * itself gives up now and then, under node as well: no ground for a test of streams.
     */
    async dhtNode({ bootstrap, open = true }) {
      const DHT = load('hyperdht')
      const options = { bootstrap, host: '127.0.0.1', ephemeral: true }
      const node = new DHT({
        ...options,
        ...(open ? { firewalled: false } : { quickFirewall: false })
      })
      await node.fullyBootstrapped()
      return keep(nodes, node)
    },

    async destroyNode({ node }) {
      await nodeAt(node).destroy()
    },

    /** Listens and sends every byte back. */
    async echoServer({ node, relayThrough }) {
      const seen = { opened: 0, closed: 0, errors: [], bytes: 0 }
      const options = {}
      if (relayThrough) options.relayThrough = Buffer.from(relayThrough, 'hex')
      const server = nodeAt(node).createServer(options, (socket) => {
        seen.opened++
        socket.on('error', (error) => seen.errors.push(error.code || error.message))
        socket.on('close', () => seen.closed++)
        socket.on('data', (chunk) => (seen.bytes += chunk.length))
        socket.pipe(socket)
      })
      await server.listen()
      return {
        server: keep(servers, { server, seen }),
        publicKey: server.publicKey.toString('hex')
      }
    },

    echoReport({ server }) {
      return servers[server].seen
    },

    async relayServer({ node }) {
      const { Server } = load('blind-relay')
      const legs = []
      const seen = {
        get streams() {
          return legs.length
        },
        get bytes() {
          return legs.reduce((sum, leg) => sum + leg.bytesReceived, 0)
        }
      }
      const relay = new Server({
        createStream(options) {
          const leg = nodeAt(node).createRawStream({ ...options, framed: true })
          legs.push(leg)
          return leg
        }
      })
      const server = nodeAt(node).createServer((socket) => {
        relay.accept(socket, { id: socket.remotePublicKey }).on('error', () => {})
      })
      await server.listen()
      return {
        server: keep(servers, { server, seen }),
        publicKey: server.publicKey.toString('hex')
      }
    },

    /** Connects, sends seeded bytes, reads as many back, ends, waits for the close. */
    async dhtEcho({ node, publicKey, bytes, seed, relayThrough, direct = true }) {
      const options = direct
        ? {}
        : { fastOpen: false, localConnection: false, holepunch: () => false }
      if (relayThrough) options.relayThrough = Buffer.from(relayThrough, 'hex')
      const socket = nodeAt(node).connect(Buffer.from(publicKey, 'hex'), options)
      return exchange(socket, { bytes, seed })
    },

    async swarm({ bootstrap, topic, server = true, client = true }) {
      const Hyperswarm = load('hyperswarm')
      const DHT = load('hyperdht')
      const dht = new DHT({ bootstrap, host: '127.0.0.1', firewalled: false, ephemeral: true })
      const swarm = new Hyperswarm({ dht })
      const seen = { peers: [], errors: [], closed: 0, waiting: new Set() }
      const changed = () => {
        for (const check of seen.waiting) check()
      }
      swarm.on('connection', (socket) => {
        socket.on('error', (error) => seen.errors.push(error.code || error.message))
        socket.on('data', (chunk) => {
          seen.peers.push(`${socket.remotePublicKey.toString('hex')}:${chunk}`)
          changed()
        })
        socket.on('close', () => {
          seen.closed++
          changed()
        })
        socket.write('hello')
      })
      const discovery = swarm.join(Buffer.from(topic, 'hex'), { server, client })
      if (server) await discovery.flushed()
      else swarm.flush().catch(() => {})
      const index = keep(swarms, { swarm, seen })
      return { swarm: index, publicKey: swarm.keyPair.publicKey.toString('hex') }
    },

    /** Waits until so many peers have greeted. */
    greeted({ swarm, count = 1 }) {
      const { seen } = swarms[swarm]
      return until(seen, () => seen.peers.length >= count)
    },

    /** Waits until so many connections have closed. */
    parted({ swarm, count = 1 }) {
      const { seen } = swarms[swarm]
      return until(seen, () => seen.closed >= count)
    },

    async leaveSwarm({ swarm }) {
      await swarms[swarm].swarm.destroy()
    }
  }
}

function until(seen, satisfied) {
  return new Promise((resolve) => {
    const check = () => {
      if (!satisfied()) return
      seen.waiting.delete(check)
      resolve(seen.peers)
    }
    seen.waiting.add(check)
    check()
  })
}

function exchange(socket, { bytes, seed }) {
  return new Promise((resolve) => {
    const hash = createHash('sha256')
    const outcome = { got: 0, error: null, openedMs: null, closedMs: null, ended: false }
    const from = performance.now()
    const sending = writeSeeded(socket, { bytes, seed })
    socket.on('open', () => (outcome.openedMs = performance.now() - from))
    socket.on('data', (chunk) => {
      outcome.got += chunk.length
      hash.update(chunk)
      if (outcome.got >= bytes) socket.end()
    })
    socket.on('end', () => {
      outcome.ended = true
      socket.end()
    })
    socket.on('error', (error) => (outcome.error = { code: error.code, message: error.message }))
    socket.on('close', async () => {
      outcome.closedMs = performance.now() - from
      const { sha256 } = await sending
      resolve({ ...outcome, equal: hash.digest('hex') === sha256 })
    })
  })
}
