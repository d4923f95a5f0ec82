// bun scripts/prove/prove-placement.ts [--petals ./petals] [--signal SIGINT|SIGKILL]
//   [--limit-s 400]
// Three servers that choose their blocks themselves, with memory for most of the built-in model's
// five. When the only server of some blocks leaves, exactly one other must take its place. Answers
// are requested all the time; each must be the same text, and none may fail except for want of a
// server. All are separate processes on loopback. Prints how long it took, exits with 1 when it did
// not happen.
import { join } from 'node:path'
import { scriptArguments } from '../arguments.ts'
import { sizesOf } from '../../src/blocks/sizes.ts'
import { openModel } from '../../src/model/open-model.ts'
import { fit } from '../../src/server/placement/budget.ts'
import { endOnSignals } from '../processes.ts'
import { ProgramSwarm, type Served } from '../net/swarm-programs.ts'

const root = join(import.meta.dir, '..', '..')
const { values } = scriptArguments(import.meta.path, {
  options: {
    petals: { type: 'string', default: join(root, 'petals') },
    signal: { type: 'string', default: 'SIGINT' },
    'limit-s': { type: 'string', default: '400' }
  }
})

const MODEL = 'stories260k'
const BLOCKS = 3
const QUESTION = ['Once upon a time', '--raw', '--temperature', '0', '--max-tokens', '200']

/** MiB with which so many blocks fit, and no more. */
async function memoryFor(blocks: number): Promise<string> {
  const data = join(root, 'src', 'model', 'data')
  const paths = [join(data, 'stories260K.bin'), join(data, 'tok512.bin')]
  const model = await openModel({ kind: 'llama2c', paths })
  const sizes = sizesOf(model.config, model.tensors, 'native')
  for (let mib = 1; ; mib++) {
    if (fit(sizes, { memoryBytes: mib * 2 ** 20 }).blocks >= blocks) return `${mib}m`
  }
}

interface Asked {
  same: number
  other: number
  /** Answers that failed because nobody had some blocks. */
  unserved: number
}

/** Asks until told to end. */
async function ask(swarm: ProgramSwarm, expected: string, ended: () => boolean): Promise<Asked> {
  const asked: Asked = { same: 0, other: 0, unserved: 0 }
  for (let i = 0; !ended(); i++) {
    const { code, stdout, stderr } = await swarm.chat(MODEL, QUESTION, '', `ask-${i}`).end(120_000)
    if (code === 0) asked[stdout === expected ? 'same' : 'other']++
    else if (code === 5) asked.unserved++
    else throw new Error(`chat ended with ${code}: ${stderr}`)
  }
  return asked
}

/** The server whose blocks no other server has. */
function lone(servers: readonly Served[]): Served {
  const alone = servers.find(
    (one) => servers.filter(({ blocks }) => blocks === one.blocks).length === 1
  )
  if (!alone) throw new Error(`Nobody is alone: ${servers.map(({ blocks }) => blocks).join(', ')}`)
  return alone
}

async function main(): Promise<number> {
  await using swarm = new ProgramSwarm([values.petals])
  await swarm.bootstrap()
  const memory = await memoryFor(BLOCKS)
  const servers: Served[] = []
  for (const name of ['a', 'b', 'c']) {
    servers.push(await swarm.joinAnywhere(MODEL, ['--memory', memory, '--threads', '1'], name))
  }
  console.log(servers.map(({ name, blocks }) => `${name} ${blocks}`).join(', '))
  const { stdout: expected } = await swarm.ask(MODEL, QUESTION)
  const victim = lone(servers)
  const others = servers.filter((one) => one !== victim)
  let over = false
  const asking = ask(swarm, expected, () => over)
  const began = performance.now()
  const seconds = (): string => ((performance.now() - began) / 1000).toFixed(0)
  victim.program.signal(values.signal === 'SIGKILL' ? 'SIGKILL' : 'SIGINT')
  console.log(`${values.signal} ${victim.name}`)
  const limitMs = 1000 * Number(values['limit-s'])
  const moved = others.map((one) =>
    one.program.match('stderr', /^moved: .* blocks (\d+:\d+) /m, limitMs).then(([, blocks]) => {
      console.log(`${one.name} moved to ${blocks} after ${seconds()} s`)
      return blocks
    })
  )
  // The one that stays never says so.
  for (const one of moved) one.catch(() => {})
  const blocks = await Promise.any(moved)
  // Enough time for a second server that would follow.
  await Bun.sleep(45_000)
  over = true
  const { same, other, unserved } = await asking
  const moves = others.filter(({ program }) => /^moved: /m.test(program.stderr)).length
  console.log(`${same} answers the same, ${other} other, ${unserved} while blocks had nobody`)
  const good = blocks === victim.blocks && moves === 1 && other === 0 && same > 0
  console.log(good ? 'as it should be' : `NOT as it should be: ${moves} moves`)
  return good ? 0 : 1
}

endOnSignals()
process.exit(await main())
