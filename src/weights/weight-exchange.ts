// Weights between this process and others, both ways: fetched from peers when something is missing
// here, given to them once there is something to give. Called by cli; weights/weight-peers.ts
// fetches, weight-server.ts gives. Knows no terminal.
import { toHex } from '../base/bytes.ts'
import { systemClock, type Clock } from '../base/clock.ts'
import { toAppError } from '../base/errors.ts'
import { silentLog, type Log } from '../base/log.ts'
import { freshSeed, seededRandom, type Random } from '../base/random.ts'
import { Resource } from '../base/resource.ts'
import type { ModelPeers } from '../model/hub/model-peers.ts'
import type { Model } from '../model/types.ts'
import { OfferedWeights } from './offered-weights.ts'
import { whyNot, type NamedModel } from '../swarm/private/capability.ts'
import { ACTS } from '../swarm/private/invite-codec.ts'
import type { SwarmNode } from '../swarm/node.ts'
import { isAdapterWant } from './adapters/adapter-giver.ts'
import { WeightAsker } from './weight-asker.ts'
import { WeightPeers } from './weight-peers.ts'
import { UploadBudget } from './upload-budget.ts'
import { WeightServer } from './weight-server.ts'

export interface WeightExchangeOptions {
  /** Its owner closes it, after this. It joins when something is missing, unless it has before. */
  node: SwarmNode
  clock?: Clock
  random?: Random
  log?: Log
}

export interface GiveOptions {
  model: Model
  /** `Paths.cache`. */
  cacheDir: string
  /** What the model is called, e.g. owner/name. */
  words: readonly string[]
  /** What it is made of is known from peers alone. */
  isUnverified?: boolean
  /** Most bytes a second to all peers together. Default: UPLOAD_LIMIT. */
  uploadLimit?: number | undefined
  stepsUnderWay: () => number
  /** Of manifests that are made. Default: CHUNK_BYTES. */
  chunkBytes?: number | undefined
}

/** Half of a 160 Mbit/s uplink; on a local network ten servers still fill a gigabit. */
export const UPLOAD_LIMIT: number = 10 * 2 ** 20

export class WeightExchange extends Resource {
  readonly peers: ModelPeers
  readonly #options: WeightExchangeOptions
  readonly #clock: Clock
  readonly #log: Log
  readonly #stopHandling: () => void
  #server: WeightServer | undefined
  #preparing: Promise<void> | undefined
  readonly #stop = new AbortController()

  constructor(options: WeightExchangeOptions) {
    super()
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? silentLog
    const { node } = options
    const asker = new WeightAsker(this.#clock)
    this.peers = new WeightPeers({
      node,
      asker,
      clock: this.#clock,
      random: options.random ?? seededRandom(freshSeed()),
      log: this.#log
    })
    this.#stopHandling = node.handle({
      onwant: (link, message) => {
        // What is about adapters is answered by their giver.
        if (isAdapterWant(message)) return
        if (this.#server) return this.#server.onwant(link, message)
        const { request } = message
        link.give({ request, left: 0, data: new Uint8Array(0), refused: 'NOT_FOUND' })
      },
      ongive: asker.handlers.ongive,
      onclosed: (link, error) => {
        asker.handlers.onclosed(link, error)
        this.#server?.onclosed(link)
      }
    })
  }

  /** How much others were given. */
  get givenBytes(): number {
    return this.#server?.givenBytes ?? 0
  }

  /**
   * Gives what is here of a model, and of what is fetched later; resolves when others can find it.
   */
  async give(options: GiveOptions): Promise<void> {
    const { node } = this.#options
    const { model, cacheDir, words, uploadLimit = UPLOAD_LIMIT, chunkBytes } = options
    const source = await OfferedWeights.open(model, {
      cacheDir,
      words,
      isUnverified: options.isUnverified ?? false,
      chunkBytes,
      signal: this.#stop.signal
    })
    if (!source || this.closing) return
    const names = [model.config.name, ...words]
    const named: NamedModel = { id: toHex(model.contentId), names }
    this.#server = new WeightServer({
      source,
      budget: new UploadBudget(uploadLimit, this.#clock),
      stepsUnderWay: options.stepsUnderWay,
      whyNot: node.membership && ((link) => notPermitted(node, link, named)),
      clock: this.#clock,
      log: this.#log
    })
    await this.#server.ready()
    this.#preparing = source.prepare().catch((error: unknown) => {
      this.#log.warn(`some weights are not given to others: ${toAppError(error).message}`)
    })
    await node.offer(source.words)
  }

  protected override async _open(): Promise<void> {}

  protected override async _close(): Promise<void> {
    this.#stop.abort()
    this.#stopHandling()
    await this.#server?.close()
    await this.#preparing
  }
}

/** Who may use a model or serve it may have its weights. */
function notPermitted(node: SwarmNode, link: object, model: NamedModel): string | undefined {
  const member = node.memberOf(link)
  if (!member) return 'it is no member'
  const [first, ...others] = ACTS.map((act) => whyNot(member, { act, model }))
  return others.every((why) => why !== undefined) ? first : undefined
}
