// What a training of an open model stands on: the model's end here, and its servers as training
// uses them.
import { systemClock, type Clock } from '../../base/clock.ts'
import { toHex } from '../../base/bytes.ts'
import type { ComputeApi } from '../../blocks/types.ts'
import type { Client } from '../../client/client.ts'
import type { LocalServers } from '../../client/route/local-servers.ts'
import type { Model } from '../../model/types.ts'
import type { SwarmNode } from '../../swarm/node.ts'
import type { Membership } from '../../swarm/private/membership.ts'
import type { TuneModel } from '../../tune/pass.ts'
import type { TrainSwarm } from '../../tune/swarm/chain.ts'
import { SwarmTraining } from '../../tune/swarm/train-swarm.ts'
import type { ServerInfo } from '../../wire/types.ts'
import { namedModel } from '../open/membership.ts'

/** Its user closes it. */
export interface TrainAccess extends Disposable {
  readonly local: TuneModel
  readonly swarm: TrainSwarm
  readonly clock: Clock
  /** Servers that may be asked now. @throws AppError NO_ROUTE */
  servers(): Promise<readonly ServerInfo[]>
  /** Whether this process computes what this peer serves. */
  isHere(peer: string): boolean
}

export interface TrainAccessOptions {
  /** As it was typed. */
  readonly name: string
  readonly model: Model
  readonly client: Client
  readonly compute: ComputeApi
  /** Blocks that are computed here. */
  readonly here: LocalServers | undefined
  readonly node: SwarmNode
  readonly membership: Membership | undefined
  readonly signal: AbortSignal
}

/** @throws AppError DENIED when the invite does not permit it */
export function openTrainAccess(options: TrainAccessOptions): TrainAccess {
  const { name, model, client, compute, here, node, membership, signal } = options
  const serves = namedModel(model, name)
  membership?.require('tune', serves)
  const swarm = new SwarmTraining({
    node,
    client,
    model: model.contentId,
    blockCount: model.config.blockCount,
    serves,
    here: here && { blocks: here, compute },
    clock: systemClock
  })
  return {
    local: client.local,
    swarm,
    clock: systemClock,
    servers: () => client.servers(signal),
    isHere: (peer) => here?.infos.some((info) => toHex(info.peer) === peer) ?? false,
    [Symbol.dispose]: () => swarm[Symbol.dispose]()
  }
}
