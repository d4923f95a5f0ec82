// One process's part in the swarm, for programs that ask models: a node, a compute worker, and the
// models that are open. The commands, the API and the library stand on it. Knows no HTTP.
import { silentLog } from '../base/log.ts'
import type { Progress } from '../base/progress.ts'
import { Resource } from '../base/resource.ts'
import type { Compute } from '../blocks/compute.ts'
import { Client } from '../client/client.ts'
import { Generator } from '../client/text/generate.ts'
import type { LocalServers } from '../client/route/local-servers.ts'
import type { Model } from '../model/types.ts'
import type { SwarmNode } from '../swarm/node.ts'
import type { Membership } from '../swarm/private/membership.ts'
import { WeightExchange } from '../weights/weight-exchange.ts'
import type { WireDtype } from '../wire/types.ts'
import { startCompute, type StartComputeOptions } from './open/compute.ts'
import { openHere, type HereChoice } from './open/here.ts'
import { namedModel, openMembership, type MeetingOptions } from './open/membership.ts'
import { openNamedModel } from './open/model.ts'
import { joinSoon, openNode } from './open/node.ts'
import type { Surroundings } from './surroundings.ts'
import { TextModel, type OwnedGenerator, type RouteNews } from './text/text-model.ts'

export interface PetalsOptions extends StartComputeOptions, MeetingOptions {
  /** How activations travel. Default: by the model's width. */
  dtype?: WireDtype | undefined
  /** How exact the head is. Default: as the servers compute. */
  headQuant?: 'native' | 'f32' | undefined
  /** Take weights from peers too, and give them. Default true. */
  peerWeights?: boolean | undefined
  /** Roots of manifests that alone are believed of peers. */
  roots?: readonly string[] | undefined
  /** A chat template in place of the files' own: a file, or the name of a known one. */
  chatTemplate?: string | undefined
  /** What servers may keep of prompts. Default: this process's own, for itself. */
  prefixCache?: boolean | undefined
  /** Answers of one model at once. Default 16. */
  parallel?: number | undefined
  /** Which blocks this process computes itself. Default 'auto': what fits and nobody serves. */
  here?: HereChoice | undefined
  /** Shows transfers. Default: nothing. */
  progress?: Progress | undefined
}

/** What another part of the process has opened already; it closes it, after this. */
export interface PetalsParts {
  readonly node: SwarmNode
  readonly compute: Compute
  readonly weights: WeightExchange | undefined
  readonly membership: Membership | undefined
  /** What it serves of a model. */
  readonly here: (model: Model) => LocalServers
}

interface Opened {
  readonly node: SwarmNode
  readonly compute: Compute
  readonly weights: WeightExchange | undefined
  readonly membership: Membership | undefined
}

export class Petals extends Resource {
  readonly #surroundings: Surroundings
  readonly #options: PetalsOptions
  readonly #given: PetalsParts | undefined
  readonly #stack = new AsyncDisposableStack()
  #opened: Opened | undefined

  /** @param parts Default: opens its own */
  constructor(surroundings: Surroundings, options: PetalsOptions = {}, parts?: PetalsParts) {
    super()
    this.#given = parts
    this.#surroundings = surroundings
    this.#options = options
  }

  /** The swarm node, after ready(). */
  get node(): SwarmNode {
    return this.#parts.node
  }

  /**
   * Opens a model by its name; the caller closes it, before this.
   * @param id as clients call it
   * @throws AppError as it cannot be found, fetched, read, or may not be used in this swarm
   */
  async openModel(name: string, id: string = name): Promise<TextModel> {
    const { node, compute, weights, membership } = this.#parts
    const { dtype, headQuant, roots, diskBytes, prefixCache, parallel, progress } = this.#options
    const { here = 'auto', chatTemplate } = this.#options
    const { log = silentLog, signal } = this.#surroundings
    const model = await openNamedModel(name, this.#surroundings, {
      need: 'client',
      weights,
      roots,
      diskBytes,
      chatTemplate,
      ...(progress ? { progress } : {})
    })
    const named = namedModel(model, name)
    const own = this.#given?.here(model)
    const blocks = own ? undefined : openHere(here, { compute, model, name, log, signal, progress })
    const client = new Client({
      node,
      compute,
      here: own ?? blocks,
      model,
      aliases: named.names,
      dtype,
      headQuant,
      log,
      signal,
      ...(prefixCache === false ? { prefix: false } : {})
    })
    const close = async (): Promise<void> => {
      await client.close()
      await blocks?.close()
    }
    try {
      membership?.require('chat', named)
      // Blocks that are computed here need no swarm to begin.
      if (!own && !blocks) await node.ready()
      await client.ready()
    } catch (error) {
      await close()
      throw error
    }
    return new TextModel({
      id,
      local: client.local,
      open: () => openGenerator(client),
      ...(parallel === undefined ? {} : { parallel }),
      onclose: close
    })
  }

  get #parts(): Opened {
    if (!this.#opened) throw new TypeError('Petals is not ready')
    return this.#opened
  }

  protected override async _open(): Promise<void> {
    if (this.#given) {
      this.#opened = this.#given
      return
    }
    const membership = await openMembership(this.#options, this.#surroundings)
    membership?.require('chat')
    const node = await openNode(this.#stack, {
      flags: this.#options,
      context: this.#surroundings,
      membership,
      // What is computed here goes on meanwhile.
      waits: (this.#options.here ?? 'auto') === 'auto'
    })
    if (this.#options.here !== 'all') joinSoon(node)
    const { log } = this.#surroundings
    const weights =
      this.#options.peerWeights === false
        ? undefined
        : this.#stack.use(new WeightExchange({ node, log }))
    const compute = this.#stack.use(await startCompute(this.#options, this.#surroundings))
    this.#opened = { node, compute, weights, membership }
  }

  protected override async _close(): Promise<void> {
    await this.#stack.disposeAsync()
  }
}

/** A session of this client with the generator over it. */
async function openGenerator(client: Client): Promise<OwnedGenerator> {
  const tell = (news: RouteNews): void => owned.onnews(news)
  const session = await client.openSession(undefined, undefined, {
    onreroute: (peer, why) =>
      tell({ kind: 'reroute', text: `server ${peer.slice(0, 8)} is avoided: ${why.message}` }),
    onwait: (why, leftMs) =>
      tell(
        why === undefined
          ? { kind: 'resume', text: 'going on' }
          : {
              kind: 'wait',
              text: `waiting for servers, ${Math.ceil(leftMs / 1000)} s more: ${why.message}`
            }
      )
  })
  const owned: OwnedGenerator = {
    generator: new Generator(client.local, session),
    route: () => session.route,
    onnews: () => {},
    close: () => session.close()
  }
  return owned
}
