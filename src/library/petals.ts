// One process's part in the swarm, for programs that ask models: a node, a compute worker, and the
// models that are open. The commands, the API and the library stand on it. Knows no HTTP.
import { toHex } from '../base/bytes.ts'
import { toAppError } from '../base/errors.ts'
import { silentLog, type Log } from '../base/log.ts'
import type { Progress } from '../base/progress.ts'
import { Resource } from '../base/resource.ts'
import type { Compute } from '../blocks/compute.ts'
import type { Quant } from '../blocks/types.ts'
import { Client, type PrefixSecret } from '../client/client.ts'
import type { WeightedPack } from '../client/session/session-adapters.ts'
import { Generator } from '../client/text/generate.ts'
import type { LocalServers } from '../client/route/local-servers.ts'
import { HostedBlocks, type HostedBlocksOptions } from '../here/hosted-blocks.ts'
import { LocalBlocks } from '../here/local-blocks.ts'
import type { Model } from '../model/types.ts'
import type { Identity } from '../swarm/identity.ts'
import type { SwarmNode } from '../swarm/node.ts'
import type { Membership } from '../swarm/private/membership.ts'
import { WeightExchange } from '../weights/weight-exchange.ts'
import type { WireDtype } from '../wire/types.ts'
import { startCompute, type StartComputeOptions } from './open/compute.ts'
import { openAdapters } from './open/adapters.ts'
import { openDrafters } from './open/drafters.ts'
import { openHere, type HereChoice } from './open/here.ts'
import { loadServers, saveServers } from './open/known-servers.ts'
import { namedModel, openMembership, type MeetingOptions } from './open/membership.ts'
import { openNamedModel } from './open/model.ts'
import { joinSoon, openNode } from './open/node.ts'
import type { Surroundings } from './surroundings.ts'
import type { OwnedGenerator, RouteNews, SessionWishes } from './text/owned-generator.ts'
import { TextModel, type BlocksNow } from './text/text-model.ts'
import { waitText } from './text/wait-text.ts'
import { openTrainAccess } from './training/train-access.ts'

export type { PrefixSecret }

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
  /**
   * What servers may keep of prompts: nothing, or what this process, or another one with the same
   * secret, asks for again. Default true: for this process alone.
   */
  prefixCache?: boolean | PrefixSecret | undefined
  /** The key of this process. Default: a new one, under which nobody knows it again. */
  identity?: Identity | undefined
  /** Answers of one model at once. Default 16. */
  parallel?: number | undefined
  /** What its models are opened for. Default 'chat'. */
  act?: 'chat' | 'tune' | undefined
  /** Which blocks this process computes itself. Default 'auto': what fits and nobody serves. */
  here?: HereChoice | undefined
  /** Shows transfers and what is waited for. Default: nothing. */
  progress?: Progress | undefined
}

export interface OpenTextModelOptions {
  /** As clients call it. Default: its name. */
  id?: string
  /**
   * Called when its files are open, before servers are looked for. @throws what ends the opening
   */
  check?: (model: Model) => Promise<void>
}

/** What another part of the process has opened already; it closes it, after this. */
export interface PetalsParts {
  readonly node: SwarmNode
  readonly compute: Compute
  readonly weights: WeightExchange | undefined
  readonly membership: Membership | undefined
  /** Serves blocks, which are used here without a network. */
  readonly host: HostedBlocksOptions['host']
  /** How it holds them. */
  readonly quant: Quant
}

interface Opened {
  readonly node: SwarmNode
  readonly compute: Promise<Compute> | Compute
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

  /** Whether it is in a private swarm, where strangers cannot read along; after ready(). */
  get isPrivate(): boolean {
    return this.#parts.membership !== undefined
  }

  /**
   * Opens a model by its name; the caller closes it, before this.
   * @throws AppError as it cannot be found, fetched, read, or may not be used in this swarm
   */
  async openModel(name: string, options: OpenTextModelOptions = {}): Promise<TextModel> {
    const { parallel, progress } = this.#options
    const { id = name, check } = options
    await using stack = new AsyncDisposableStack()
    try {
      const opened = await this.#openClient(stack, name, check)
      const { client, here } = opened
      const { signal } = this.#surroundings
      const closing = stack.move()
      return new TextModel({
        id,
        local: client.local,
        open: (wishes) => this.#openSession(opened, wishes),
        adapt: (names) => this.#openAdapters(opened, names),
        blocks: () => blocksNow(client, here),
        openTraining: () => openTrainAccess({ ...this.#parts, ...opened, signal }),
        ...(parallel === undefined ? {} : { parallel }),
        onclose: () => closing.disposeAsync()
      })
    } finally {
      progress?.done()
    }
  }

  /** The model, blocks of it that are computed here, and its client; `stack` closes them. */
  async #openClient(
    stack: AsyncDisposableStack,
    name: string,
    check: OpenTextModelOptions['check']
  ): Promise<OpenedModel> {
    const { node, weights, membership } = this.#parts
    const { dtype, headQuant, roots, diskBytes, prefixCache = true, progress } = this.#options
    const { here: choice = 'auto', chatTemplate } = this.#options
    const { log = silentLog, signal } = this.#surroundings
    const model = await openNamedModel(name, this.#surroundings, {
      need: 'client',
      weights,
      roots,
      diskBytes,
      chatTemplate,
      ...(progress ? { progress } : {})
    })
    stack.defer(() => model.close())
    await check?.(model)
    const named = namedModel(model, name)
    membership?.require(this.#options.act ?? 'chat', named)
    const compute = await this.#parts.compute
    const here = this.#given
      ? new HostedBlocks({ ...this.#given, model, log })
      : openHere(choice, { compute, model, name, log, signal, progress })
    if (here instanceof LocalBlocks) stack.use(here)
    const client = stack.use(
      new Client({
        node,
        compute,
        here,
        model,
        aliases: named.names,
        dtype,
        headQuant,
        log,
        signal,
        ...(prefixCache === true ? {} : { prefix: prefixCache })
      })
    )
    // Others with this secret went through servers that may have kept what is asked for again.
    const remembers = typeof prefixCache === 'object'
    if (remembers) client.book.recall(await loadServers(this.#surroundings, model.contentId))
    // Blocks that are computed here need no swarm to begin.
    if (!here) {
      progress?.stage(`looking for servers of ${name}`)
      await node.ready()
    }
    await client.ready()
    return { name, model, client, compute, here, remembers }
  }

  async #openAdapters(
    { name, model, client }: OpenedModel,
    names: readonly string[]
  ): Promise<readonly WeightedPack[]> {
    const { node } = this.#parts
    return openAdapters(names, {
      surroundings: this.#surroundings,
      model,
      swarm: { node, serves: namedModel(model, name), servers: () => client.servers() },
      progress: this.#options.progress
    })
  }

  /** A session of this client with the generator over it. */
  async #openSession(of: OpenedModel, wishes: SessionWishes = {}): Promise<OwnedGenerator> {
    const { name, model, client, compute, remembers } = of
    const { published, draft = 'none', adapters } = wishes
    await using stack = new AsyncDisposableStack()
    const tell = (news: RouteNews): void => owned.onnews(news)
    const session = stack.use(
      await client.openSession(
        undefined,
        published,
        {
          onreroute: (peer, why) =>
            tell({
              kind: 'reroute',
              text: `server ${peer.slice(0, 8)} is avoided: ${why.message}`
            }),
          onwait: (why, leftMs) =>
            tell(
              why === undefined
                ? { kind: 'resume', text: 'going on' }
                : { kind: 'wait', text: waitText(why, leftMs) }
            )
        },
        adapters
      )
    )
    const drafters = await openDrafters(stack, {
      draft,
      name,
      model,
      compute,
      context: this.#surroundings,
      weights: this.#parts.weights,
      progress: this.#options.progress
    })
    const opened = stack.move()
    const owned: OwnedGenerator = {
      generator: new Generator(client.local, session, { drafters }),
      route: () => session.route,
      reroutes: () => session.reroutes,
      onnews: () => {},
      ...(remembers
        ? {
            remember: () =>
              saveServers(this.#surroundings, model.contentId, client.roundTrips(session.route))
          }
        : {}),
      close: () => opened.disposeAsync()
    }
    return owned
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
    membership?.require(this.#options.act ?? 'chat')
    const node = await openNode(this.#stack, {
      flags: this.#options,
      context: this.#surroundings,
      membership,
      identity: this.#options.identity,
      // What is computed here goes on meanwhile.
      waits: (this.#options.here ?? 'auto') === 'auto'
    })
    const { log } = this.#surroundings
    // Nothing leaves this machine: nobody is asked for anything.
    if (this.#options.here !== 'all') joinSoon(node, (error) => tellWithoutSwarm(error, log))
    const weights =
      this.#options.peerWeights === false
        ? undefined
        : this.#stack.use(new WeightExchange({ node, log }))
    this.#opened = { node, compute: this.#startCompute(), weights, membership }
  }

  /** It starts while a model's files are opened. */
  #startCompute(): Promise<Compute> {
    const compute = startCompute(this.#options, this.#surroundings)
    // Heard by who opens a model.
    compute.catch(() => {})
    this.#stack.defer(async () => {
      const started = await compute.catch(() => undefined)
      await started?.close()
    })
    return compute
  }

  protected override async _close(): Promise<void> {
    await this.#stack.disposeAsync()
  }
}

/** A model, and what sessions of it need. */
interface OpenedModel {
  readonly name: string
  readonly model: Model
  readonly client: Client
  readonly compute: Compute
  /** Blocks that are computed here. */
  readonly here: LocalServers | undefined
  /** Whether the servers of its routes are remembered for other processes. */
  readonly remembers: boolean
}

function blocksNow(client: Client, here: LocalServers | undefined): BlocksNow {
  const others = client.known.filter(({ peer }) => !here?.connect(toHex(peer)))
  const { infos = [], kept } = here ?? {}
  const spans = new Map(infos.map(({ start, end }) => [`${start}:${end}`, { start, end }]))
  return { servers: others.length, here: [...spans.values()], kept }
}

/** What is computed here goes on without. */
function tellWithoutSwarm(error: unknown, log: Log): void {
  const { code, message } = toAppError(error)
  if (code === 'DENIED') log.warn(message)
  else if (code !== 'CLOSED') log.debug(message)
}
