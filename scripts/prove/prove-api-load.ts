// bun scripts/prove/prove-api-load.ts [--petals ./petals] [--at-once 64] [--requests 2000]
// Many clients of one `petals api` over two servers: that nobody starves, that all texts are the
// same although a server is killed under them, and that memory stays flat over many requests.
import { readFileSync } from 'node:fs'
import { ProgramSwarm } from '../net/swarm-programs.ts'
import { scriptArguments } from '../arguments.ts'

const { values } = scriptArguments(import.meta.path, {
  options: {
    petals: { type: 'string', default: './petals' },
    'at-once': { type: 'string', default: '64' },
    requests: { type: 'string', default: '2000' }
  }
})
const atOnce = Number(values['at-once'])
const requests = Number(values.requests)
const MODEL = 'stories260k'

await using swarm = new ProgramSwarm(values.petals.split(' '))
await swarm.bootstrap()
const first = await swarm.join(MODEL, '0:5', ['--threads', '1'], 'a')
await swarm.join(MODEL, '0:5', ['--threads', '1'], 'b')
const api = await swarm.api(MODEL, ['--here', 'none', '--parallel', '64'])

/** The text, and how long it took, ms. */
async function ask(maxTokens: number): Promise<{ text: string; ms: number }> {
  const began = performance.now()
  const body = { prompt: 'Once upon a time', max_tokens: maxTokens, temperature: 0 }
  const response = await fetch(`${api.url}/completions`, {
    method: 'POST',
    body: JSON.stringify(body)
  })
  const { choices, error } = (await response.json()) as {
    choices?: { text: string }[]
    error?: { message: string }
  }
  if (!choices?.[0]) throw new Error(error?.message ?? 'no answer')
  return { text: choices[0].text, ms: performance.now() - began }
}

function memoryMiB(): number {
  const status = readFileSync(`/proc/${api.pid}/status`, 'utf8')
  return Math.round(Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024)
}

async function together(
  count: number,
  tokens: number
): Promise<{ texts: number; times: number[] }> {
  const answers = await Promise.all(Array.from({ length: count }, () => ask(tokens)))
  const times = answers.map(({ ms }) => ms).toSorted((a, b) => a - b)
  return { texts: new Set(answers.map(({ text }) => text)).size, times }
}

const expected = (await ask(100)).text
const quiet = await together(atOnce, 100)
const [fastest = 0, slowest = 0] = [quiet.times[0], quiet.times.at(-1)]
console.log(
  `${atOnce} at once: ${quiet.texts} text, ${fastest.toFixed(0)} to ${slowest.toFixed(0)} ms, ` +
    `slowest to fastest ${(slowest / fastest).toFixed(2)}`
)

const killed = together(atOnce, 100)
await Bun.sleep(fastest / 3)
first.program.signal('SIGKILL')
const after = await killed
const isSame = after.texts === 1 && (await ask(100)).text === expected
console.log(
  `a server killed under ${atOnce}: ${isSame ? 'every text the same' : 'TEXTS DIFFER'}, ` +
    `slowest ${(after.times.at(-1) ?? 0).toFixed(0)} ms`
)

const memory: number[] = []
for (let done = 0; done < requests; done += 50) {
  await together(Math.min(50, requests - done), 2)
  if (done % 250 === 0) memory.push(memoryMiB())
}
memory.push(memoryMiB())
console.log(`memory over ${requests} requests, MiB: ${memory.join(', ')}`)
// Not process.exit(): that would leave the swarm's programs running.
process.exitCode = isSame && quiet.texts === 1 ? 0 : 1
