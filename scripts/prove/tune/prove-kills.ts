// bun scripts/prove/tune/prove-kills.ts [--petals 'bun src/cli/main.ts'] [--model smollm2-135m]
// `petals tune` over one server, and over three of which each is killed under it, one after the
// other, while another takes its place: both must give the same adapter, to the bit.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ProgramSwarm, type Served } from '../../net/swarm-programs.ts'
import { scriptArguments } from '../../arguments.ts'

const { values } = scriptArguments(import.meta.path, {
  options: {
    petals: { type: 'string', default: './petals' },
    model: { type: 'string', default: 'smollm2-135m' },
    parts: { type: 'string', default: '0:10,10:20,20:30' },
    epochs: { type: 'string', default: '5' }
  }
})
const { model } = values
const parts = values.parts.split(',')
const all = `0:${parts.at(-1)?.split(':')[1]}`

await using swarm = new ProgramSwarm(values.petals.split(' '))
await swarm.bootstrap()
const data = join(swarm.folder, 'data.jsonl')
const lines = ['The sky is', 'Grass is', 'Snow is', 'Coal is'].map((prompt, i) => ({
  prompt,
  completion: [' blue.', ' green.', ' white, and cold.', ' black.'][i]
}))
writeFileSync(data, lines.map((line) => JSON.stringify(line)).join('\n'))

const logged = (out: string): number => {
  try {
    return readFileSync(join(out, 'log.jsonl'), 'utf8').split('\n').length - 1
  } catch {
    return 0
  }
}

/** Trains; `onstep` is called when the log has one line more. Returns the adapter. */
async function tune(name: string, onstep: (step: number) => Promise<void>): Promise<Uint8Array> {
  const out = join(swarm.folder, name)
  const plan = ['--here', 'none', '--yes', '--batch', '2', '--epochs', values.epochs]
  const over = new AbortController()
  const run = swarm
    .run(['tune', model, data, '--out', out, ...plan], 900_000)
    .finally(() => over.abort())
  for (let step = 0; !over.signal.aborted;) {
    if (logged(out) <= step) await Bun.sleep(50)
    else await onstep(++step)
  }
  const { stderr } = await run
  console.log(`${name}: ${stderr.split('left out for a while').length - 1} calls failed`)
  return new Uint8Array(readFileSync(join(out, 'adapter_model.safetensors')))
}

const only = await swarm.join(model, all, ['--threads', '1'])
const expected = await tune('one', async () => {})
await swarm.stop(only)

const servers: Served[] = []
for (const part of parts)
  servers.push(await swarm.join(model, part, ['--threads', '1'], `a-${part}`))
let killed = 0
const found = await tune('killed', async () => {
  const next = servers[killed]
  if (next === undefined) return
  killed++
  next.program.signal('SIGKILL')
  await swarm.join(model, next.blocks, ['--threads', '1'], `b-${next.blocks}`)
})
const isSame = Buffer.compare(expected, found) === 0
console.log(
  `${killed} of ${servers.length} servers killed: ${isSame ? 'the same adapter' : 'ANOTHER ADAPTER'}`
)
process.exit(isSame && killed === servers.length ? 0 : 1)
