// A chat over one server on the device and one on a CPU, with kills: the answer goes on on the
// other kind. Servers are this very executable, started with the word `petals`.
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { readStats, ProgramSwarm, type Served } from '../net/swarm-programs.ts'
import type { Place, Tally } from './device.ts'

const MODEL = 'stories260k'
const SPANS = ['0:3', '3:5'] as const
const TOKENS = 200
const PROMPT = 'Once upon a time'
const MANY_MS = 180_000

export async function proveChat(
  place: Place,
  tally: Tally,
  petals: readonly string[]
): Promise<void> {
  const libraries = process.env['LD_LIBRARY_PATH']
  const within = libraries === undefined ? [] : ['env', `LD_LIBRARY_PATH=${libraries}`]
  await using swarm = new ProgramSwarm(petals, { within })
  await swarm.bootstrap()
  const device = place.device === 'onnx-cpu' ? 'cpu' : place.device
  const serve = async (span: string, kind: string): Promise<Served> => {
    const name = `${kind}-${span.replace(':', '-')}`
    if (place.cudaDir !== undefined) {
      const data = join(swarm.folder, name, 'petals')
      mkdirSync(data, { recursive: true })
      symlinkSync(place.cudaDir, join(data, 'cuda'))
    }
    return swarm.join(MODEL, span, ['--device', kind === 'device' ? device : 'cpu'], name)
  }
  const greedy = ['--raw', '--temperature', '0', '--max-tokens', String(TOKENS), '--stats']
  const servers = [await serve(SPANS[0], 'device'), await serve(SPANS[1], 'cpu')]
  let text = ''
  await tally.check(`a chat over ${device} ${SPANS[0]} and cpu ${SPANS[1]}`, async () => {
    const { stdout, stderr } = await swarm.ask(MODEL, greedy, PROMPT, MANY_MS)
    text = stdout
    return `${readStats(stderr).tokensPerSecond} tokens/s`
  })
  // Of each span the other kind joins, and the first one is killed in the middle of an answer.
  for (const [index, kind] of (['cpu', 'device'] as const).entries()) {
    const span = SPANS[index] ?? SPANS[0]
    await serve(span, kind)
    await tally.check(`blocks ${span} are killed, and ${kind} takes them over`, async () => {
      await using chat = swarm.chat(MODEL, greedy, PROMPT)
      await chat.match('stdout', /\w{3,}(?:\s+\S+){12}/, MANY_MS)
      servers[index]?.program.signal('SIGKILL')
      const { code, stdout, stderr } = await chat.end(MANY_MS)
      const { tokens, rerouted } = readStats(stderr)
      if (code !== 0 || tokens !== TOKENS) throw new Error(`ended with ${code}: ${stderr}`)
      if (rerouted < 1) throw new Error(`the answer was over before the kill: ${stderr}`)
      // Another device rounds differently, so the words may, too.
      return `${rerouted} rerouted, ${stdout === text ? 'the same text' : 'another text'}`
    })
  }
}
