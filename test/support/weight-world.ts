// Servers that give weights and those who take them, over a real loopback swarm but without an
// engine.
import { expect } from 'bun:test'
import { join } from 'node:path'
import { toHex } from '../../src/base/bytes.ts'
import type { Log } from '../../src/base/log.ts'
import { silentLog } from '../../src/base/log.ts'
import { seededRandom } from '../../src/base/random.ts'
import { identifyModel } from '../../src/model/store/identify.ts'
import { openModel } from '../../src/model/open-model.ts'
import { findModel, type ResolveOptions } from '../../src/model/resolve.ts'
import type { Model } from '../../src/model/types.ts'
import { WeightExchange } from '../../src/weights/weight-exchange.ts'
import type { Membership } from '../../src/swarm/private/membership.ts'
import type { SwarmNode } from '../../src/swarm/node.ts'
import type { LinkHandlers } from '../../src/wire/link.ts'
import type { PeerLink } from '../../src/wire/link.ts'
import type { Give, Want } from '../../src/wire/types.ts'
import { World } from '../swarm/world.ts'
import { CHUNK, remoteOptions } from './models/remote-model.ts'
import { storiesLocation } from './models/stories.ts'

/** A hub that is not there. */
export const NOWHERE = { url: 'http://127.0.0.1:1' } as const

const stories = await openModel(storiesLocation)

/** Each is as in stories260K. */
export function expectTensors(model: Model, names: readonly string[]): void {
  const differ = names.filter(
    (name) => !Buffer.from(model.tensors.read(name)).equals(stories.tensors.read(name))
  )
  expect(differ).toEqual([])
}

export function allOf(model: Model): string[] {
  return model.tensors.list().map(({ name }) => name)
}

/** Changes what is given for a want; undefined: nothing is said. */
export type Spoil = (want: Want, give: Give) => Give | undefined

export interface Peer {
  readonly node: SwarmNode
  readonly exchange: WeightExchange
  /** What it told its user. */
  readonly told: string[]
  /** For openFrom(). */
  readonly asking: Pick<ResolveOptions, 'peers' | 'log'>
}

export interface FoundModel {
  readonly model: Model
  readonly word: string | undefined
  readonly isUnverified: boolean
}

export class WeightWorld implements AsyncDisposable {
  readonly #world: World
  readonly #exchanges: WeightExchange[] = []

  private constructor(world: World) {
    this.#world = world
  }

  static async start(): Promise<WeightWorld> {
    return new WeightWorld(await World.start())
  }

  async peer(options: { spoil?: Spoil; membership?: Membership } = {}): Promise<Peer> {
    const told: string[] = []
    const log: Log = { ...silentLog, warn: (text: string) => void told.push(text) }
    const random = seededRandom(this.#exchanges.length)
    const { spoil, membership } = options
    const node = this.#world.make({ membership })
    if (spoil) {
      const handle = node.handle.bind(node)
      node.handle = (handlers) => handle(spoiled(handlers, spoil))
    }
    const exchange = new WeightExchange({ node, random, log })
    this.#exchanges.push(exchange)
    await node.ready()
    return { node, exchange, told, asking: { peers: exchange.peers, log } }
  }

  /** Gives what is here of a model. */
  async give(peer: Peer, found: FoundModel, folder: { path: string }): Promise<void> {
    await peer.exchange.give({
      model: found.model,
      cacheDir: join(folder.path, 'cache'),
      words: found.word === undefined ? [] : [found.word],
      isUnverified: found.isUnverified,
      uploadLimit: Infinity,
      stepsUnderWay: () => 0,
      chunkBytes: CHUNK
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#exchanges.map((exchange) => exchange.close()))
    await this.#world[Symbol.asyncDispose]()
  }
}

/** Opens a model as the program does: what peers say is held to its content id. */
export async function openFrom(
  name: string,
  folder: { path: string },
  hub: { url: string },
  more: Partial<ResolveOptions> = {}
): Promise<FoundModel> {
  const options = remoteOptions(folder, hub, more)
  const { location, fetcher, word, isUnverified = false, confirm } = await findModel(name, options)
  const model = await openModel(location, fetcher)
  const id = toHex(await identifyModel(model, { cacheDir: options.cacheDir }))
  await confirm?.(id)
  return { model, word, isUnverified }
}

function spoiled(handlers: LinkHandlers, spoil: Spoil): LinkHandlers {
  return {
    ...handlers,
    onwant(link, want) {
      const liar = new Proxy(link, {
        get(target, name): unknown {
          if (name === 'give') {
            return (give: Give): boolean => {
              const spoilt = spoil(want, give)
              return spoilt ? target.give(spoilt) : true
            }
          }
          const value: unknown = Reflect.get(target, name, target)
          return typeof value === 'function' ? (value.bind(target) as unknown) : value
        }
      })
      handlers.onwant?.(liar as PeerLink, want)
    }
  }
}
