// What servers keep, over the real engine and the real network: three hosts of stories260K and
// clients of their own, which share nothing but a secret.
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { Compute } from '../../../src/blocks/compute.ts'
import { Client, type ClientOptions } from '../../../src/client/client.ts'
import { Generator, type GenerateOptions } from '../../../src/client/text/generate.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { Host } from '../../../src/server/host.ts'
import { startBootstrap, type Bootstrap } from '../../../src/swarm/dht/bootstrap.ts'
import { createIdentity } from '../../../src/swarm/identity.ts'
import { SwarmNode } from '../../../src/swarm/node.ts'
import { readReferences, storiesLocation } from '../../support/models/stories.ts'

const SECRET = { secret: new Uint8Array(32).fill(5) }
const stack = new AsyncDisposableStack()
let bootstrap: Bootstrap
let compute: Compute
let hosts: Host[]

beforeAll(async () => {
  bootstrap = await startBootstrap({ port: 0 })
  stack.defer(() => bootstrap.close())
  compute = stack.use(new Compute({ threads: 1, memoryBytes: 2 ** 30 }))
  hosts = [await serve(0, 2), await serve(2, 5)]
}, 120_000)

afterAll(() => stack.disposeAsync())

async function serve(start: number, end: number): Promise<Host> {
  const node = stack.use(new SwarmNode({ bootstrap: [address()], identity: createIdentity() }))
  const model = await openModel(storiesLocation)
  const host = new Host({ compute, model, blocks: { start, end }, quant: 'f32', node })
  stack.defer(() => host.close())
  await host.ready()
  return host
}

function address(): { host: string; port: number } {
  return { host: bootstrap.host, port: bootstrap.port }
}

interface Told {
  readonly ids: number[]
  readonly reused: number
  /** Servers that it went through. */
  readonly used: ReadonlyMap<string, number>
}

/** One answer to `prompt` by a client that nobody knows, which is gone afterwards. */
async function ask(
  prompt: readonly number[],
  options: GenerateOptions,
  more: Partial<ClientOptions> = {},
  ontoken: (count: number) => Promise<void> | void = () => {},
  recalled: ReadonlyMap<string, number> = new Map()
): Promise<Told> {
  await using own = new AsyncDisposableStack()
  const node = own.use(new SwarmNode({ bootstrap: [address()], identity: createIdentity() }))
  await node.ready()
  const model = await openModel(storiesLocation)
  const client = own.use(new Client({ node, compute, model, prefix: SECRET, ...more }))
  client.book.recall(recalled)
  await client.ready()
  const session = own.use(await client.openSession())
  const generator = new Generator(client.local, session)
  const ids: number[] = []
  for await (const { id } of generator.generate(prompt, options)) {
    ids.push(id)
    await ontoken(ids.length)
  }
  return { ids, reused: generator.stats.reusedTokens, used: client.roundTrips(session.route) }
}

/** A golden text of which the first ids are the prompt. */
function golden(length: number, answer: number): { prompt: number[]; ids: number[] } {
  for (const { promptIds, ids } of readReferences()) {
    const all = [...promptIds, ...ids]
    if (all.length >= length + answer) {
      return { prompt: all.slice(0, length), ids: all.slice(length, length + answer) }
    }
  }
  throw new Error('No reference is so long')
}

test('a new process goes on from what servers kept, with the golden text', async () => {
  const [first, longer] = [golden(70, 20), golden(110, 30)]
  const options = { temperature: 0, maxTokens: 20 }
  expect(await ask(first.prompt, options)).toMatchObject({ ids: first.ids, reused: 0 })
  // The answer's ids were fed as well, all but the last: 89 of them are there, 80 have a name.
  expect(await ask(longer.prompt, { ...options, maxTokens: 30 })).toMatchObject({
    ids: longer.ids,
    reused: 80
  })
}, 120_000)

for (const dtype of ['f32', 'f16'] as const) {
  test(`a seed gives one text in ${dtype}, from what was kept and from nothing`, async () => {
    const { prompt } = golden(100, 20)
    const options = { temperature: 0.8, seed: 3, maxTokens: 24 }
    const wire = { dtype, prefix: { secret: new Uint8Array(32).fill(dtype === 'f16' ? 16 : 32) } }
    const [fresh, kept, off] = [
      await ask(prompt, options, wire),
      await ask(prompt, options, wire),
      await ask(prompt, options, { ...wire, prefix: false })
    ]
    expect([fresh.reused, kept.reused, off.reused]).toEqual([0, 99, 0])
    expect([kept.ids, off.ids]).toEqual([fresh.ids, fresh.ids])
  }, 120_000)
}

test('a server that leaves after its prefix was used changes nothing', async () => {
  const { prompt, ids } = golden(120, 40)
  const options = { temperature: 0, maxTokens: 40 }
  const prefix = { secret: new Uint8Array(32).fill(9) }
  const { used } = await ask(prompt, options, { prefix })
  const [, leaving] = hosts
  await serve(2, 5)
  const leave = async (count: number): Promise<void> => {
    if (count === 6) await leaving?.close()
  }
  // Whoever remembers where it was finds what was kept, though others serve the same blocks now.
  const told = await ask(prompt, options, { prefix }, leave, used)
  expect(told).toMatchObject({ ids, reused: 119 })
  expect([...told.used.keys()]).not.toEqual([...used.keys()])
}, 120_000)
