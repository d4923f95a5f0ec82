// What a host announces in the swarm: its blocks, their speed, its free room, where it moves. Kept
// up to date here and published by the node. Called by host.ts.
import type { BlockSpan } from '../base/block-span.ts'
import type { Clock } from '../base/clock.ts'
import { buildInfo } from '../base/version.ts'
import type { Quant } from '../blocks/types.ts'
import type { Model } from '../model/types.ts'
import type { NextSpan, ServerInfo } from '../wire/types.ts'
import { describeSpan } from './describe.ts'
import type { Serving } from './serving.ts'

export interface AdvertisementOptions {
  model: Model
  /** Default: as the model's file calls it. */
  name?: string | undefined
  quant: Quant
  /** The server never moves. */
  fixed: boolean
  /** This server's public key, 32 bytes. */
  self: Uint8Array
  /** Called first, and whenever other blocks are served. Resolves when others can find them. */
  serve: (info: ServerInfo) => Promise<void>
  /** Called when only numbers have changed. */
  update: (info: ServerInfo) => void
  freeTokens: () => number
  /** Beginnings of ids of adapters that are here for everybody; undefined: none can be used. */
  adapters?: () => readonly Uint8Array[] | undefined
  /** Whether steps of trainings are taken; undefined while nothing is served. */
  trains?: () => boolean | undefined
  clock: Clock
}

const REFRESH_MS = 10_000
/** How long loading is announced to take, ms. */
const LOAD_MS = 60_000

export class Advertisement {
  info: ServerInfo
  readonly #options: AdvertisementOptions
  #stopRefresh: () => void = () => {}

  /** @param others their speed is used as an estimate until this server has measured its own */
  constructor(range: BlockSpan, others: readonly ServerInfo[], options: AdvertisementOptions) {
    this.#options = options
    const speeds = others.map((info) => info.throughput).sort((a, b) => a - b)
    const decode = speeds[Math.floor(speeds.length / 2)] ?? 1
    const { hiddenSize } = options.model.config
    const span = { ...range, hiddenSize, maxTokens: 0 }
    this.info = {
      ...this.#describe({ span, speed: { decode, prefill: 0 } }),
      draining: true,
      next: { ...range, inMs: LOAD_MS, left: true }
    }
  }

  /** Announces blocks that are being loaded, so that servers that join meanwhile choose others. */
  loading(): Promise<void> {
    return this.#options.serve(this.info)
  }

  /** Announces blocks that are served from now on. */
  async serving(serving: Serving): Promise<void> {
    const { pings } = this.info
    this.info = { ...this.#describe(serving), pings, freeTokens: this.#options.freeTokens() }
    await this.#options.serve(this.info)
    this.#refresh()
  }

  pings(pings: ServerInfo['pings']): void {
    this.#change({ ...this.info, pings })
  }

  /** Announces that the server drains and where it moves to; undefined: it stays. */
  going(next: NextSpan | undefined): void {
    const { next: _, ...info } = this.info
    this.#change(next ? { ...info, draining: true, next } : { ...info, draining: false })
  }

  close(): void {
    this.#stopRefresh()
  }

  #describe({ span, speed }: Pick<Serving, 'speed'> & { span: Described }): ServerInfo {
    const { model, name, quant, self, fixed } = this.#options
    const { version } = buildInfo()
    const adapters = this.#options.adapters?.()
    const trains = this.#options.trains?.()
    const about = { model, span, quant, speed, freeTokens: 0, adapters, trains, version }
    const info = describeSpan(about)
    const { modelName } = info
    return { ...info, modelName: name ?? modelName, peer: self, ...(fixed ? { fixed } : {}) }
  }

  #change(info: ServerInfo): void {
    this.info = info
    this.#options.update(info)
  }

  #refresh(): void {
    this.#stopRefresh()
    this.#stopRefresh = this.#options.clock.after(
      REFRESH_MS,
      () => {
        const freeTokens = this.#options.freeTokens()
        if (freeTokens !== this.info.freeTokens) this.#change({ ...this.info, freeTokens })
        this.#refresh()
      },
      true
    )
  }
}

type Described = Parameters<typeof describeSpan>[0]['span']
