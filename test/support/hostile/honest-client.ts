// A client as people run it, over a loopback bootstrap, that asks for texts whose ids are known.
import { Compute } from '../../../src/blocks/compute.ts'
import { Client } from '../../../src/client/client.ts'
import { Generator } from '../../../src/client/text/generate.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { createIdentity } from '../../../src/swarm/identity.ts'
import { SwarmNode } from '../../../src/swarm/node.ts'
import { readReferences, storiesLocation } from '../models/stories.ts'

export class HonestClient implements AsyncDisposable {
  readonly node: SwarmNode
  /** Answers that were right. */
  answers = 0
  /** Why servers were avoided. */
  readonly reroutes: string[] = []
  readonly #client: Client
  readonly #stack: AsyncDisposableStack

  private constructor(
    node: SwarmNode,
    client: (reroutes: string[]) => Client,
    stack: AsyncDisposableStack
  ) {
    this.node = node
    this.#client = client(this.reroutes)
    this.#stack = stack
  }

  static async start(bootstrap: { host: string; port: number }): Promise<HonestClient> {
    const stack = new AsyncDisposableStack()
    const options = { bootstrap: [bootstrap], identity: createIdentity() }
    const node = stack.use(new SwarmNode(options))
    const compute = stack.use(new Compute({ threads: 1 }))
    await Promise.all([compute.ready(), node.ready()])
    const model = await openModel(storiesLocation)
    const make = (reroutes: string[]): Client =>
      new Client({
        node,
        compute,
        model,
        onreroute: (_peer, why) => void reroutes.push(`${why.code}: ${why.message}`)
      })
    const honest = new HonestClient(node, make, stack)
    stack.use(honest.#client)
    await honest.#client.ready()
    return honest
  }

  /** One reference text in a session of its own. @throws Error when an id differs */
  async ask(which: number): Promise<void> {
    const all = readReferences()
    const reference = all[which % all.length]
    if (!reference) throw new Error('There are no references')
    await using session = await this.#client.openSession()
    const generator = new Generator(this.#client.local, session)
    const ids: number[] = []
    const maxTokens = Math.min(64, reference.ids.length)
    const request = { temperature: 0, maxTokens }
    for await (const { id } of generator.generate(reference.promptIds, request)) ids.push(id)
    const wanted = reference.ids.slice(0, maxTokens)
    if (ids.join() !== wanted.join()) throw new Error(`Not the reference: ${ids.join()}`)
    this.answers++
  }

  /** Asks again and again until `signal`. */
  async askUntil(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) await this.ask(this.answers)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
}
