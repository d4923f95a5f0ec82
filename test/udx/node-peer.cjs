// node test/udx/node-peer.cjs   (test/udx/peer.ts starts it, under node or under Bun)
// The far end of an interop test: streams, DHT nodes and swarms driven by JSON lines on stdin, answers on
// stdout. Under node it runs on the real udx-native of .cache/node-ref, under Bun on src/udx. Knows no test.
const { createRequire } = require('module')
const { join } = require('path')
const { createInterface } = require('readline')

const root = join(__dirname, '..', '..')
const underBun = typeof process.versions.bun === 'string'
const base = underBun ? join(root, 'package.json') : join(root, '.cache/node-ref/package.json')
const fromBase = createRequire(base)

/** Loads a package; under Bun also one that only hyperdht depends on. */
function load(name) {
  try {
    return fromBase(name)
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND' || !underBun) throw error
    return createRequire(fromBase.resolve('hyperdht'))(name)
  }
}

const commands = { ...require('./peer-streams.cjs')(load), ...require('./peer-dht.cjs')(load) }
const uncaught = []

process.on('uncaughtException', (error) => uncaught.push(String(error.stack || error)))
process.on('unhandledRejection', (error) => uncaught.push(String((error && error.stack) || error)))

/** Errors that no command answered for, since the last call. */
commands.uncaught = () => uncaught.splice(0)

function answer(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}

async function run({ id, method, args }) {
  try {
    if (!commands[method]) throw new Error(`Unknown command "${method}"`)
    answer({ id, result: (await commands[method](args || {})) ?? null })
  } catch (error) {
    answer({ id, error: { message: error.message, code: error.code, stack: error.stack } })
  }
}

const lines = createInterface({ input: process.stdin })
lines.on('line', (line) => run(JSON.parse(line)))
// The test that started this process is gone when its end of the pipe is.
lines.on('close', () => process.exit(0))
answer({
  ready: true,
  runtime: underBun ? `bun ${process.versions.bun}` : `node ${process.version}`
})
