// One message of each kind, with every optional field, in numbers that are easy to see in hex.
import { CODECS, type Messages } from '../../src/wire/messages.ts'
import { adapterCodec } from '../../src/wire/codec/adapter.ts'
import { openCodec, openedCodec } from '../../src/wire/codec/open.ts'
import { helloCodec, serverInfoCodec } from '../../src/wire/codec/info.ts'
import { answerCodec, callCodec } from '../../src/wire/codec/tune.ts'
import { catalogueCodec, holdingCodec } from '../../src/wire/codec/weights.ts'
import type { Codec } from '../../src/wire/codec/fields.ts'
import type {
  AdapterManifest,
  Catalogue,
  Hello,
  Holding,
  ServerInfo,
  ServerStatus,
  TuneAnswer,
  TuneCall,
  WireTensor
} from '../../src/wire/types.ts'

const session = new Uint8Array(16).fill(0x51)
const peer = new Uint8Array(32).fill(0xaa)
const model = new Uint8Array(32).fill(0xbb)
const status: ServerStatus = { queue: 3, freeTokens: 300, computeMs: 1.5, queueMs: 0.25 }

const mark = { length: 300, label: new Uint8Array(16).fill(0xee) }

export const halves: WireTensor = {
  dtype: 'f16',
  rows: 2,
  columns: 3,
  data: new Uint8Array([1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0])
}
const bytes: WireTensor = {
  dtype: 'int8',
  rows: 1,
  columns: 2,
  data: new Uint8Array([0, 0, 0, 0x3f, 7, 0xf9])
}

export const info: ServerInfo = {
  peer,
  model,
  modelName: 'stories260K',
  blockCount: 30,
  hiddenSize: 576,
  start: 10,
  end: 20,
  quant: 'q8_0',
  throughput: 512.5,
  prefillThroughput: 0,
  maxTokens: 2048,
  freeTokens: 70_000,
  version: '0.1.0',
  draining: true,
  issuedAt: 1_700_000_000_000,
  expiresAt: 1_700_000_060_000,
  pings: [{ peer: new Uint8Array(32).fill(0xcc), ms: 2.5 }],
  next: { start: 15, end: 25, inMs: 4000, left: true },
  fixed: true
}

export const hello: Hello = {
  version: 1,
  agent: 'petals/0.1.0 (linux x64)',
  dtypes: ['f32', 'f16', 'bf16', 'int8'],
  servers: [info],
  proof: new Uint8Array([9, 8, 7]),
  refusal: {
    session: new Uint8Array(0),
    step: -1,
    code: 'DENIED',
    message: 'No',
    retryable: false,
    retryAfterMs: 0,
    status
  }
}

export const messages: Messages = {
  open: { session, model, start: 10, end: 20, maxTokens: 2048, prefix: [mark], forget: true },
  opened: { session, status, held: 300 },
  step: {
    session,
    step: 5,
    kind: 'forward',
    start: 300,
    count: 2,
    deadlineMs: 3000,
    route: [{ peer, start: 20, end: 30 }],
    tensor: halves,
    prompts: bytes,
    adapter: 'lora',
    receipt: true,
    answerRows: 1,
    mirror: true
  },
  result: {
    session,
    step: 5,
    start: 300,
    count: 2,
    end: 30,
    trace: [{ peer, status }],
    tensor: halves,
    receipt: new Uint8Array([1, 2, 3, 4])
  },
  error: {
    session,
    step: -1,
    code: 'BUSY',
    message: 'Später',
    retryable: true,
    retryAfterMs: 500,
    status
  },
  cancel: { session, step: 6 },
  close: { session },
  ping: { nonce: 77 },
  pong: { nonce: 77, status },
  announce: { servers: [info] },
  keep: { session, step: 6, marks: [mark, { ...mark, length: 16 }], shared: [mark] },
  want: { request: 9, what: 3, name: 'owner/name', start: 65_536, count: 4096 },
  give: { request: 9, left: 4093, data: new Uint8Array([5, 6, 7]), refused: 'BUSY' },
  tune: { request: 4, left: 90_000, data: new Uint8Array([1, 2, 3]), cancel: true },
  tuned: {
    request: 4,
    left: 0,
    data: new Uint8Array(0),
    failure: {
      session: new Uint8Array(0),
      step: -1,
      code: 'NOT_FOUND',
      message: 'No adapter',
      retryable: true,
      retryAfterMs: 0,
      status
    }
  }
}

const catalogue: Catalogue = {
  model,
  kind: 'folder',
  small: [{ path: 'config.json', sizeBytes: 700, sha256: new Uint8Array(32).fill(0xc1) }],
  weights: [{ path: 'a.safetensors', sizeBytes: 70_000, sha256: new Uint8Array(32).fill(0xc2) }],
  isUnverified: true
}

const holding: Holding = {
  sizeBytes: 70_000,
  chunkBytes: 4096,
  isWhole: false,
  held: new Uint8Array([0xff, 0x01, 0]),
  vouched: new Uint8Array([0x0f, 0, 0]),
  root: new Uint8Array(32).fill(0xdd)
}

const shape = { rank: 8, scale: 2, targets: ['self_attn.q_proj'] }
const call: TuneCall = {
  kind: 'backward',
  model,
  start: 10,
  end: 20,
  deadlineMs: 3000,
  lengths: [1, 300],
  hidden: new Uint8Array([0, 0, 128, 63]),
  gradient: new Uint8Array([0, 0, 0, 64]),
  prompts: new Uint8Array([0, 0, 64, 64]),
  adapter: new Uint8Array(32).fill(0xee),
  shape,
  values: new Uint8Array([0, 0, 128, 64])
}
const answer: TuneAnswer = {
  hidden: new Uint8Array([0, 0, 128, 63]),
  status,
  adapterGradient: new Uint8Array([0, 0, 0, 64]),
  promptGradient: new Uint8Array([0, 0, 64, 64])
}

const adapter: AdapterManifest = {
  model,
  dtype: 'bf16',
  positions: 4,
  parts: [new Uint8Array(32).fill(0xf1), new Uint8Array(32).fill(0xf2)],
  shape,
  deep: true
}
const adapters = [{ id: new Uint8Array(32).fill(0xef), weight: -0.5 }]

/** Everything that has bytes of its own: name, codec, sample. */
export const samples: readonly (readonly [string, Codec<unknown>, unknown])[] = [
  ['hello', helloCodec as Codec<unknown>, hello],
  ['info', serverInfoCodec as Codec<unknown>, info],
  ['infoWithArithmetic', serverInfoCodec as Codec<unknown>, { ...info, arithmetic: 'petals-1' }],
  [
    'infoWithAdapters',
    serverInfoCodec as Codec<unknown>,
    { ...info, adapters: [new Uint8Array(8).fill(0xef)] }
  ],
  ['adapter', adapterCodec as Codec<unknown>, adapter],
  ['openWithAdapters', openCodec as Codec<unknown>, { ...messages.open, adapters }],
  ['openedAdapted', openedCodec as Codec<unknown>, { ...messages.opened, adapted: true }],
  ['catalogue', catalogueCodec as Codec<unknown>, catalogue],
  ['holding', holdingCodec as Codec<unknown>, holding],
  ['call', callCodec as Codec<unknown>, call],
  ['answer', answerCodec as Codec<unknown>, answer],
  ...Object.entries(messages).map(
    ([type, message]) =>
      [type, CODECS[type as keyof Messages] as Codec<unknown>, message as unknown] as const
  )
]
