// What a server publishes about its span. The node adds who publishes it and how long it is valid.
import type { Quant, SpanInfo } from '../blocks/types.ts'
import type { Model } from '../model/types.ts'
import type { ServerInfo } from '../wire/types.ts'
import type { Speed } from './measure.ts'

export interface Described {
  model: Model
  span: Pick<SpanInfo, 'start' | 'end' | 'hiddenSize' | 'maxTokens' | 'arithmetic'>
  quant: Quant
  speed: Speed
  freeTokens: number
  /** Beginnings of ids of adapters that are here; undefined: it can use none. */
  adapters?: readonly Uint8Array[] | undefined
  /** Whether it takes steps of trainings. Default true. */
  trains?: boolean | undefined
  version: string
}

export function describeSpan(of: Described): ServerInfo {
  const { model, span, quant, speed, freeTokens, adapters, trains = true, version } = of
  return {
    peer: new Uint8Array(32),
    issuedAt: 0,
    expiresAt: 0,
    model: model.contentId,
    modelName: model.config.name,
    blockCount: model.config.blockCount,
    hiddenSize: span.hiddenSize,
    start: span.start,
    end: span.end,
    quant,
    throughput: speed.decode,
    prefillThroughput: speed.prefill,
    maxTokens: span.maxTokens,
    freeTokens,
    version,
    draining: false,
    pings: [],
    ...(trains ? {} : { noTraining: true }),
    ...(adapters === undefined ? {} : { adapters }),
    ...(span.arithmetic === undefined ? {} : { arithmetic: span.arithmetic })
  }
}
