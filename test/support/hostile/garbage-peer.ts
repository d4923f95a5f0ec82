// bun test/support/hostile/garbage-peer.ts BOOTSTRAP HOST MODEL BLOCKS FIRST:LAST LIE: a server
// that says it is the fastest there is, opens sessions, answers pings, and lies. For
// scripts/prove/chaos.ts. Prints its key.
import { toHex } from '../../../src/base/bytes.ts'
import { createIdentity } from '../../../src/swarm/identity.ts'
import { SwarmNode } from '../../../src/swarm/node.ts'
import type { PeerLink } from '../../../src/wire/link.ts'
import { rowBytes } from '../../../src/wire/tensor.ts'
import type {
  ServerInfo,
  ServerStatus,
  Step,
  StepResult,
  WireTensor
} from '../../../src/wire/types.ts'

export const LIES = ['nan', 'columns', 'rows', 'position', 'refusal', 'silence'] as const
export type Lie = (typeof LIES)[number]

const STATUS: ServerStatus = { queue: 0, freeTokens: 16_000_000, computeMs: 0, queueMs: 0 }
const FAST = 1e9

function shaped(tensor: WireTensor, rows: number, columns: number, fill: number): WireTensor {
  const data = new Uint8Array(rows * rowBytes(tensor.dtype, columns)).fill(fill)
  return { dtype: tensor.dtype, rows, columns, data }
}

/** What is answered to a step; undefined: nothing. */
function answerOf(lie: Lie, step: Step, end: number, peer: Uint8Array): StepResult | undefined {
  const { session, tensor, start, count } = step
  const rows = step.route.length > 0 ? count : (step.answerRows ?? count)
  const zeros = shaped(tensor, rows, tensor.columns, 0)
  const trace = [{ peer, status: STATUS }]
  const result = { session, step: step.step, start, count, end, trace, tensor: zeros }
  switch (lie) {
    case 'nan':
      return { ...result, tensor: shaped(tensor, rows, tensor.columns, 0xff) }
    case 'columns':
      return { ...result, tensor: shaped(tensor, rows, tensor.columns * 2, 0) }
    case 'rows':
      return { ...result, tensor: shaped(tensor, rows + 1, tensor.columns, 0) }
    case 'position':
      return { ...result, start: start + 1 }
    default:
      return undefined
  }
}

async function serve(args: readonly string[]): Promise<void> {
  const [bootstrap = '', host = '', model = '', blocks = '', span = '', lie = 'nan'] = args
  const [address = '', port] = bootstrap.split(':')
  const [start = 0, end = 0] = span.split(':').map(Number)
  const owners = new Map<string, PeerLink>()
  const node = new SwarmNode({
    bootstrap: [{ host: address, port: Number(port) }],
    host,
    identity: createIdentity()
  })
  node.handle({
    status: () => STATUS,
    onopen: (link, { session }) => {
      owners.set(toHex(session), link)
      link.opened({ session, status: STATUS })
    },
    // Whoever brings it: the client hears of it.
    onstep: (bringer, step) => {
      const { session } = step
      const link = owners.get(toHex(session)) ?? bringer
      if (lie === 'refusal') {
        const told = { retryable: false, retryAfterMs: 86_400_000, status: STATUS }
        link.error({
          session,
          step: step.step,
          code: 'BAD_INPUT',
          message: 'your fault',
          ...told
        })
      }
      const answer = answerOf(lie as Lie, step, end, node.key)
      if (answer) link.result(answer)
    }
  })
  await node.ready()
  const now = Date.now()
  const info: ServerInfo = {
    peer: node.key,
    model: new Uint8Array(Buffer.from(model, 'hex')),
    modelName: 'garbage',
    blockCount: Number(blocks),
    hiddenSize: 1,
    start,
    end,
    quant: 'native',
    throughput: FAST,
    prefillThroughput: FAST,
    maxTokens: 100_000,
    freeTokens: STATUS.freeTokens,
    version: '0',
    draining: false,
    issuedAt: now,
    expiresAt: now + 60_000,
    pings: []
  }
  await node.serve(info)
  process.stdout.write(`${node.peer}\n`)
}

if (import.meta.main) await serve(process.argv.slice(2))
