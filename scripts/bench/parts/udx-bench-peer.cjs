// One end of scripts/bench/bench-udx.ts, under node (real udx-native) or Bun (src/udx): a sink and its echo, or
// the source that measures. One JSON line out when ready, one for each round asked for on stdin.
const { createRequire } = require('module')
const { join } = require('path')
const { createInterface } = require('readline')

const root = join(__dirname, '..', '..', '..')
const underBun = typeof process.versions.bun === 'string'
const load = createRequire(join(root, underBun ? 'package.json' : '.cache/node-ref/package.json'))
const CHUNK = 65536

const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`)
const cpuMs = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Counts down what the first 8 bytes announce, then answers one byte; or echoes when they say 0. */
function sink(stream) {
  let left = -1
  stream.on('error', () => {})
  stream.on('data', (chunk) => {
    if (left === -1) {
      left = Number(chunk.readBigUInt64LE(0))
      chunk = chunk.subarray(8)
      if (left === 0) left = -2
    }
    if (left === -2) {
      if (chunk.length > 0) stream.write(chunk)
      return
    }
    left -= chunk.length
    if (left === 0) stream.write(Buffer.alloc(1))
  })
  stream.on('end', () => stream.end())
}

async function serve() {
  const { nodes, bootstrap } = await load('hyperdht/testnet')(3)
  const [node] = nodes
  const server = node.createServer(sink)
  await server.listen()

  const UDX = load('udx-native')
  const udx = new UDX()
  const socket = udx.createSocket()
  socket.bind(0, '127.0.0.1')
  // Stream n of a source is connected to stream n here as soon as it speaks.
  const expect = (id) => {
    const stream = udx.createStream(id, {
      firewall(_, port, host) {
        stream.connect(socket, id, port, host)
        expect(id + 1)
        return false
      }
    })
    sink(stream)
  }
  expect(1)
  const publicKey = server.publicKey.toString('hex')
  say({ bootstrap, publicKey, port: socket.address().port })
  return async () => ({ cpuMs: cpuMs() })
}

async function source({ bootstrap, publicKey, port }) {
  const DHT = load('hyperdht')
  const node = new DHT({ bootstrap, host: '127.0.0.1', firewalled: false })
  await node.fullyBootstrapped()
  const UDX = load('udx-native')
  const udx = new UDX()
  const socket = udx.createSocket()
  socket.bind(0, '127.0.0.1')
  let nextId = 1
  say({ ready: true })

  const open = async (kind) => {
    if (kind === 'raw') {
      const stream = udx.createStream(nextId)
      stream.connect(socket, nextId++, port, '127.0.0.1')
      return stream
    }
    const stream = node.connect(Buffer.from(publicKey, 'hex'))
    await new Promise((resolve, reject) => stream.once('open', resolve).once('error', reject))
    return stream
  }

  return async ({ kind, bytes, messages, messageBytes }) => {
    const stream = await open(kind)
    const outcome = messages
      ? await pingPong(stream, messages, messageBytes)
      : await bulk(stream, bytes)
    const raw = stream.rawStream || stream
    const { retransmits, mtu } = raw
    const closed = new Promise((resolve) => stream.once('close', resolve))
    stream.on('error', () => {}).end()
    await closed
    return { ...outcome, retransmits, mtu, cpuMs: cpuMs() }
  }
}

async function bulk(stream, bytes) {
  const chunk = Buffer.alloc(CHUNK, 7)
  const done = new Promise((resolve, reject) => stream.once('data', resolve).once('error', reject))
  const from = performance.now()
  stream.write(header(bytes))
  for (let left = bytes; left > 0; left -= CHUNK) {
    const part = left < CHUNK ? chunk.subarray(0, left) : chunk
    if (!stream.write(part)) await new Promise((resolve) => stream.once('drain', resolve))
  }
  await done
  return { ms: performance.now() - from }
}

async function pingPong(stream, messages, messageBytes) {
  const times = []
  const message = Buffer.alloc(messageBytes, 3)
  stream.write(header(0))
  let got = 0
  let arrived
  stream.on('data', (chunk) => {
    got += chunk.length
    if (got >= messageBytes) {
      got -= messageBytes
      arrived()
    }
  })
  for (let i = 0; i < messages; i++) {
    const back = new Promise((resolve) => (arrived = resolve))
    const from = performance.now()
    stream.write(message)
    await back
    times.push(performance.now() - from)
  }
  // The first fifth warms up.
  return { times: times.slice(messages / 5) }
}

function header(bytes) {
  const buffer = Buffer.alloc(8)
  buffer.writeBigUInt64LE(BigInt(bytes))
  return buffer
}

async function main() {
  const given = process.argv[2]
  const round = given ? await source(JSON.parse(given)) : await serve()
  const lines = createInterface({ input: process.stdin })
  lines.on('line', async (line) => {
    try {
      say(await round(JSON.parse(line)))
    } catch (error) {
      say({ error: String(error.stack || error) })
    }
  })
  lines.on('close', () => process.exit(0))
}

main()
