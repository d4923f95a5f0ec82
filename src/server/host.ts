// A serving process: loads a span, measures it, joins the swarm, says so, and leaves properly.
// Called by cli/join.ts. Knows no terminal.
import { toHex } from '../base/bytes.ts'
import { deadline, systemClock, type Clock } from '../base/clock.ts'
import { AppError, toAppError } from '../base/errors.ts'
import { silentLog, type Log } from '../base/log.ts'
import { Resource } from '../base/resource.ts'
import { buildInfo } from '../base/version.ts'
import { sizesOf } from '../blocks/sizes.ts'
import type { ComputeApi, Quant, SpanInfo } from '../blocks/types.ts'
import { blockTensorNames } from '../model/needed-tensors.ts'
import type { Model } from '../model/types.ts'
import { find } from '../swarm/directory.ts'
import type { NamedModel } from '../swarm/capability.ts'
import { SwarmNode, type SwarmNodeOptions } from '../swarm/node.ts'
import type { LinkHandlers } from '../wire/handlers.ts'
import { fromWire } from '../wire/peer-error.ts'
import type { ServerInfo, ServerStatus, WireError } from '../wire/types.ts'
import { BlockServer } from './block-server.ts'
import { blocksThatFit, checkFits, sessionTokens } from './budget.ts'
import type { ServerLink } from './links.ts'
import { MemberGate } from './member-gate.ts'
import { describeSpan } from './describe.ts'
import { measureSpeed, type Speed } from './measure.ts'
import { chooseSpan } from './placement.ts'

export interface HostOptions {
  compute: ComputeApi
  /** Closed with the host. */
  model: Model
  /** Blocks [first, last); default: as many as fit, where the swarm is weakest. */
  blocks?: { first: number; last: number } | undefined
  quant: Quant
  /** Room on the disk for what is not here yet, when it chooses its blocks itself. Default: enough. */
  diskBytes?: number | undefined
  /** What the model is called beside its own name: an invite may name it so. */
  aliases?: readonly string[]
  /** Everything of the swarm node but its handlers. */
  node: Omit<SwarmNodeOptions, 'handlers'>
  /** How long leaving waits for open sessions, ms. Default 0: clients go round. */
  drainMs?: number
  clock?: Clock
  log?: Log
  signal?: AbortSignal | undefined
  /** Called when the swarm is joined. */
  onnode?: (node: SwarmNode) => void
  /** Says what is being done, for a progress line. */
  onstage?: (stage: string) => void
  /** Told while weights are fetched. */
  onfetch?: (progress: { doneBytes: number; totalBytes: number }) => void
}

const REFRESH_MS = 10_000

export class Host extends Resource {
  readonly #options: HostOptions
  readonly #clock: Clock
  readonly #log: Log
  #node: SwarmNode | undefined
  #server: BlockServer | undefined
  /** In a private swarm. */
  #gate: MemberGate | undefined
  #info: ServerInfo | undefined
  #speed: Speed | undefined
  #stopRefresh: () => void = () => {}

  constructor(options: HostOptions) {
    super()
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? silentLog
  }

  get span(): SpanInfo {
    if (!this.#server) throw new TypeError('The host is not ready')
    return this.#server.span
  }

  get speed(): Speed {
    if (!this.#speed) throw new TypeError('The host is not ready')
    return this.#speed
  }

  get peer(): string {
    return this.#node?.peer ?? ''
  }

  /** What is held for others now. */
  get load(): { sessions: number; promisedTokens: number; queue: number; links: number } {
    const { size = 0, promisedTokens = 0 } = this.#server?.sessions ?? {}
    const links = this.#node ? [...this.#node.links].length : 0
    return { sessions: size, promisedTokens, queue: this.#status().queue, links }
  }

  /** Resolves when the swarm has this server no more, with the reason. */
  get barred(): Promise<AppError> {
    if (!this.#node) throw new TypeError('The host is not ready')
    return this.#node.barred
  }

  protected override async _open(): Promise<void> {
    const { compute, model, quant, signal, onstage = () => {} } = this.#options
    const { membership } = this.#options.node
    const named: NamedModel = {
      id: toHex(model.contentId),
      names: [model.config.name, ...(this.#options.aliases ?? [])]
    }
    membership?.require('serve', named)
    const length = await this.#fitting()
    const node = new SwarmNode({ ...this.#options.node, handlers: this.#handlers() })
    this.#node = node
    onstage('joining the swarm')
    await node.ready()
    this.#options.onnode?.(node)
    const { first, last } = this.#options.blocks ?? (await this.#choose(node, length))
    const names = blockTensorNames(model.tensors, first, last)
    if (model.missingBytes(names) > 0) onstage(`fetching blocks ${first}:${last}`)
    await model.ensure(names, { signal, onprogress: this.#options.onfetch })
    onstage(`loading blocks ${first}:${last}`)
    const load = { location: model.location, first, last, quant }
    const span = await compute.loadSpan(load, signal)
    onstage('measuring')
    this.#speed = await measureSpeed(compute, span, { clock: this.#clock, signal })
    const { freeBytes } = await compute.stats()
    const sizes = sizesOf(model.config, model.tensors, quant)
    const capacityTokens = sessionTokens(sizes, last - first, freeBytes)
    if (capacityTokens < 1) {
      throw new AppError('NO_MEMORY', 'No memory is left for sessions beside the weights', {
        hint: 'Serve fewer blocks (--blocks), or give more with --memory'
      })
    }
    this.#server = new BlockServer({
      compute,
      span,
      model: model.contentId,
      self: node.key,
      capacityTokens,
      reach: (peer, abort) => node.connect(peer, { signal: abort, serves: named }),
      clock: this.#clock,
      log: this.#log
    })
    if (membership) {
      this.#gate = new MemberGate({
        memberOf: (link) => node.memberOf(link),
        model: named,
        sessions: this.#server.sessions,
        clock: this.#clock
      })
    }
    await this.#server.ready()
    onstage('announcing')
    this.#info = this.#describe(span, this.#speed)
    await node.serve(this.#info)
    this.#refresh()
  }

  protected override async _close(): Promise<void> {
    const { drainMs = 0, model } = this.#options
    this.#stopRefresh()
    if (this.#server && this.#node && this.#info) {
      this.#server.draining = true
      const leaving = this.#node.leave().catch((error: unknown) => {
        this.#log.warn(`leaving was not heard by the swarm: ${toAppError(error).message}`)
      })
      if (drainMs > 0) await this.#server.drain(AbortSignal.timeout(drainMs))
      await deadline(leaving, 5_000, { clock: this.#clock }).catch(() => {})
    }
    await this.#server?.close()
    await this.#node?.close()
    model.close()
  }

  #handlers(): LinkHandlers {
    return {
      onopen: (link, message) => {
        if (!this.#permits(link, message.session, -1, () => this.#gate?.open(link, message))) return
        void this.#server?.open(link, message)
      },
      onstep: (link, message) => {
        // Its owner would take an error for the end of the step: a stranger to it gets no answer.
        if (this.#gate && !this.#gate.mayBring(link, message)) return
        const { session, step } = message
        const owner = this.#server?.sessions.get(session)?.owner ?? link
        if (!this.#permits(owner, session, step, () => this.#gate?.step(message))) return
        return this.#server?.step(link, message)
      },
      oncancel: (link, message) => this.#server?.cancel(link, message),
      onclosesession: (link, message) => {
        this.#guard(this.#server?.closeSession(link, message))
      },
      onerror: (_link, message) => this.#pushRefused(message),
      onclosed: (link) => this.#guard(this.#server?.disconnected(link)),
      status: () => this.#status()
    }
  }

  /** Whether the gate lets it pass; else the peer is told why not. */
  #permits(link: ServerLink, session: Uint8Array, step: number, ask: () => void): boolean {
    try {
      ask()
      return true
    } catch (error) {
      const { code, message, retryable, retryAfterMs = 0 } = toAppError(error)
      const status = this.#status()
      link.error({ session, step, code, message, retryable, retryAfterMs, status })
      return false
    }
  }

  #status(): ServerStatus {
    return this.#server?.status() ?? { queue: 0, freeTokens: 0, computeMs: 0, queueMs: 0 }
  }

  /** What goes wrong behind a frame has nobody who waits for it. */
  #guard(work: Promise<void> | undefined): void {
    work?.catch((error: unknown) => this.#log.warn(toAppError(error).message))
  }

  #pushRefused(message: WireError): void {
    if (message.step < 0 || message.session.byteLength !== 16) return
    this.#server?.pushRefused(message.session, message.step, fromWire(message))
  }

  /** How many blocks it is to serve. @throws AppError NO_MEMORY, UNAVAILABLE with the numbers */
  async #fitting(): Promise<number> {
    const { compute, model, quant, blocks, diskBytes } = this.#options
    const { freeBytes } = await compute.stats()
    if (!blocks) return blocksThatFit(model, quant, { memoryBytes: freeBytes, diskBytes })
    checkFits(model, quant, blocks, freeBytes)
    return blocks.last - blocks.first
  }

  async #choose(node: SwarmNode, length: number): Promise<{ first: number; last: number }> {
    const { model, signal } = this.#options
    const { blockCount } = model.config
    const found = await find(node, model.contentId, blockCount, signal ? { signal } : {})
    return chooseSpan(
      found.filter((info) => !info.draining),
      blockCount,
      length
    )
  }

  #describe(span: SpanInfo, speed: Speed): ServerInfo {
    const { model, quant } = this.#options
    const freeTokens = this.#server?.freeTokens ?? 0
    return describeSpan({ model, span, quant, speed, freeTokens, version: buildInfo().version })
  }

  #refresh(): void {
    this.#stopRefresh = this.#clock.after(
      REFRESH_MS,
      () => {
        const freeTokens = this.#server?.freeTokens ?? 0
        if (this.#info && freeTokens !== this.#info.freeTokens) {
          this.#info = { ...this.#info, freeTokens }
          this.#node?.update(this.#info)
        }
        this.#refresh()
      },
      true
    )
  }
}
