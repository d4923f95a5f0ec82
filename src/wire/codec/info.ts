// How a server describes itself: info, and the messages that carry infos, hello and announce. The
// layout is described in protocol.ts.
import { protocolError, unsupported } from '../../base/errors.ts'
import { errorCodec } from './control.ts'
import {
  amount,
  anyNumber,
  bytesUpTo,
  fixedBytes,
  framed,
  key,
  listUpTo,
  mapped,
  roughUpTo,
  shownUpTo,
  uintUpTo,
  type Codec
} from './fields.ts'
import { DTYPES, LIMITS, MIN_VERSION } from '../protocol.ts'
import { bare, checked, flag, mark, optional, record } from './record.ts'
import type { Announce, Hello, NextSpan, ServerInfo, WireDtype } from '../types.ts'

const block = uintUpTo(LIMITS.blocks, 'a block')
const tokens = roughUpTo(LIMITS.tokens, 'a number of tokens')

const nextSpan = record<NextSpan>({
  start: block,
  end: block,
  inMs: roughUpTo(LIMITS.waitMs, 'a time to wait'),
  left: flag
})

export const serverInfoCodec: Codec<ServerInfo> = checked(
  record<ServerInfo>({
    peer: key,
    model: key,
    modelName: shownUpTo(LIMITS.modelNameBytes, 'the model name'),
    blockCount: block,
    hiddenSize: uintUpTo(LIMITS.columns, 'the hidden size'),
    start: block,
    end: block,
    quant: shownUpTo(LIMITS.quantBytes, 'the quantisation'),
    throughput: amount,
    prefillThroughput: amount,
    maxTokens: tokens,
    freeTokens: tokens,
    version: shownUpTo(LIMITS.versionBytes, 'the version'),
    issuedAt: anyNumber,
    expiresAt: anyNumber,
    pings: listUpTo(
      LIMITS.pings,
      bare<ServerInfo['pings'][number]>({ peer: key, ms: amount }),
      'round trips'
    ),
    draining: flag,
    next: optional(nextSpan),
    fixed: mark,
    arithmetic: optional(shownUpTo(LIMITS.arithmeticBytes, 'the arithmetic')),
    adapters: optional(listUpTo(LIMITS.namedAdapters, fixedBytes(8), 'adapters')),
    noTraining: mark
  }),
  checkSpan
)

function checkSpan(info: ServerInfo): void {
  for (const { start, end } of info.next ? [info, info.next] : [info]) {
    if (start < end && end <= info.blockCount) continue
    throw protocolError(
      `The server's info is refused: blocks ${start}:${end} of ${info.blockCount}`
    )
  }
}

/** Infos, each with its length before it. */
export const serversCodec: Codec<readonly ServerInfo[]> = listUpTo(
  LIMITS.servers,
  framed(serverInfoCodec),
  'servers'
)

/** Unknown numbers are left out: a later version may know more of them. */
const dtypes = mapped(
  listUpTo(LIMITS.dtypes, uintUpTo(Number.MAX_SAFE_INTEGER, 'a dtype'), 'dtypes'),
  (names: readonly WireDtype[]) => names.map((name) => DTYPES.indexOf(name)),
  (numbers) => numbers.flatMap((number) => DTYPES[number] ?? [])
)

const version = uintUpTo(Number.MAX_SAFE_INTEGER, 'the protocol version')
const helloRest = record<Omit<Hello, 'version'>>({
  agent: shownUpTo(LIMITS.agentBytes, 'the agent'),
  dtypes,
  servers: serversCodec,
  proof: optional(bytesUpTo(LIMITS.proofBytes, 'the proof')),
  refusal: optional(errorCodec)
})

/** The version is written before the flags, as what follows may depend on it. */
export const helloCodec: Codec<Hello> = {
  preencode(state, hello) {
    version.preencode(state, hello.version)
    helloRest.preencode(state, hello)
  },
  encode(state, hello) {
    version.encode(state, hello.version)
    helloRest.encode(state, hello)
  },
  decode(state) {
    const found = version.decode(state)
    if (found >= MIN_VERSION) return { version: found, ...helloRest.decode(state) }
    throw unsupported(`The hello is refused: version ${found} is below ${MIN_VERSION}`)
  }
}

export const announceCodec: Codec<Announce> = record<Announce>({
  servers: serversCodec,
  revocations: optional(bytesUpTo(LIMITS.revocationBytes, 'the list of revoked invites'))
})
