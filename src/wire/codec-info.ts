// How a server presents itself: info, and the messages that carry infos, hello and announce.
// The layout is written at the head of protocol.ts.
import { protocolError, unsupported } from '../base/errors.ts'
import { errorCodec } from './codecs.ts'
import {
  amount,
  bytesUpTo,
  decodeFields,
  flags,
  framed,
  key,
  listUpTo,
  present,
  roughUpTo,
  shownUpTo,
  uintUpTo,
  type Codec
} from './fields.ts'
import { DTYPES, LIMITS, MIN_VERSION } from './protocol.ts'
import type { Announce, Hello, NextSpan, ServerInfo, WireDtype } from './types.ts'

const modelName = shownUpTo(LIMITS.modelNameBytes, 'the model name')
const blocks = uintUpTo(LIMITS.blocks, 'a block')
const columns = uintUpTo(LIMITS.columns, 'the hidden size')
const quant = shownUpTo(LIMITS.quantBytes, 'the quantisation')
const tokens = roughUpTo(LIMITS.tokens, 'a number of tokens')
const appVersion = shownUpTo(LIMITS.versionBytes, 'the version')
const wall = uintUpTo(Number.MAX_SAFE_INTEGER, 'a time')

const reading: Codec<{ readonly peer: Uint8Array; readonly ms: number }> = {
  preencode(state, value) {
    key.preencode(state, value.peer)
    amount.preencode(state, value.ms)
  },
  encode(state, value) {
    key.encode(state, value.peer)
    amount.encode(state, value.ms)
  },
  decode: (state) => ({ peer: key.decode(state), ms: amount.decode(state) })
}
const pings = listUpTo(LIMITS.pings, reading, 'round trips')

const wait = roughUpTo(LIMITS.waitMs, 'a time to wait')
const nextSpan: Codec<NextSpan> = {
  preencode(state, next) {
    flags.preencode(state, next.left ? 1 : 0)
    blocks.preencode(state, next.start)
    blocks.preencode(state, next.end)
    wait.preencode(state, next.inMs)
    if (next.left) framedPresent.preencode(state, true)
  },
  encode(state, next) {
    flags.encode(state, next.left ? 1 : 0)
    blocks.encode(state, next.start)
    blocks.encode(state, next.end)
    wait.encode(state, next.inMs)
    if (next.left) framedPresent.encode(state, true)
  },
  decode(state) {
    const bits = flags.decode(state)
    const [start, end] = [blocks.decode(state), blocks.decode(state)]
    const next = { start, end, inMs: wait.decode(state), left: (bits & 1) !== 0 }
    decodeFields(state, bits)
    return next
  }
}

const framedPresent = framed(present)
const framedNext = framed(nextSpan)

function fieldsOfInfo(info: ServerInfo): number {
  return (info.draining ? 1 : 0) | (info.next ? 2 : 0) | (info.fixed ? 4 : 0)
}

export const serverInfoCodec: Codec<ServerInfo> = {
  preencode(state, info) {
    checkSpan(info)
    flags.preencode(state, fieldsOfInfo(info))
    key.preencode(state, info.peer)
    key.preencode(state, info.model)
    modelName.preencode(state, info.modelName)
    blocks.preencode(state, info.blockCount)
    columns.preencode(state, info.hiddenSize)
    blocks.preencode(state, info.start)
    blocks.preencode(state, info.end)
    quant.preencode(state, info.quant)
    amount.preencode(state, info.throughput)
    amount.preencode(state, info.prefillThroughput)
    tokens.preencode(state, info.maxTokens)
    tokens.preencode(state, info.freeTokens)
    appVersion.preencode(state, info.version)
    wall.preencode(state, info.issuedAt)
    wall.preencode(state, info.expiresAt)
    pings.preencode(state, info.pings)
    if (info.draining) framedPresent.preencode(state, true)
    if (info.next) framedNext.preencode(state, info.next)
    if (info.fixed) framedPresent.preencode(state, true)
  },
  encode(state, info) {
    flags.encode(state, fieldsOfInfo(info))
    key.encode(state, info.peer)
    key.encode(state, info.model)
    modelName.encode(state, info.modelName)
    blocks.encode(state, info.blockCount)
    columns.encode(state, info.hiddenSize)
    blocks.encode(state, info.start)
    blocks.encode(state, info.end)
    quant.encode(state, info.quant)
    amount.encode(state, info.throughput)
    amount.encode(state, info.prefillThroughput)
    tokens.encode(state, info.maxTokens)
    tokens.encode(state, info.freeTokens)
    appVersion.encode(state, info.version)
    wall.encode(state, info.issuedAt)
    wall.encode(state, info.expiresAt)
    pings.encode(state, info.pings)
    if (info.draining) framedPresent.encode(state, true)
    if (info.next) framedNext.encode(state, info.next)
    if (info.fixed) framedPresent.encode(state, true)
  },
  decode(state) {
    const bits = flags.decode(state)
    const info: { -readonly [K in keyof ServerInfo]: ServerInfo[K] } = {
      peer: key.decode(state),
      model: key.decode(state),
      modelName: modelName.decode(state),
      blockCount: blocks.decode(state),
      hiddenSize: columns.decode(state),
      start: blocks.decode(state),
      end: blocks.decode(state),
      quant: quant.decode(state),
      throughput: amount.decode(state),
      prefillThroughput: amount.decode(state),
      maxTokens: tokens.decode(state),
      freeTokens: tokens.decode(state),
      version: appVersion.decode(state),
      issuedAt: wall.decode(state),
      expiresAt: wall.decode(state),
      pings: pings.decode(state),
      draining: (bits & 1) !== 0
    }
    decodeFields(state, bits, [undefined, (field) => (info.next = nextSpan.decode(field))])
    if ((bits & 4) !== 0) info.fixed = true
    checkSpan(info)
    return info
  }
}

/** Infos, each with its length before it. */
export const serversCodec: Codec<readonly ServerInfo[]> = listUpTo(
  LIMITS.servers,
  framed(serverInfoCodec),
  'servers'
)

const protocolVersion = uintUpTo(Number.MAX_SAFE_INTEGER, 'the protocol version')
const agent = shownUpTo(LIMITS.agentBytes, 'the agent')
const dtypeNumbers = listUpTo(LIMITS.dtypes, uintUpTo(Number.MAX_SAFE_INTEGER, 'a dtype'), 'dtypes')
const proof = bytesUpTo(LIMITS.proofBytes, 'the proof')
const framedProof = framed(proof)
const framedRefusal = framed(errorCodec)

function fieldsOfHello(hello: Hello): number {
  return (hello.proof ? 1 : 0) | (hello.refusal ? 2 : 0)
}

export const helloCodec: Codec<Hello> = {
  preencode(state, hello) {
    protocolVersion.preencode(state, hello.version)
    flags.preencode(state, fieldsOfHello(hello))
    agent.preencode(state, hello.agent)
    dtypeNumbers.preencode(state, numbersOf(hello.dtypes))
    serversCodec.preencode(state, hello.servers)
    if (hello.proof) framedProof.preencode(state, hello.proof)
    if (hello.refusal) framedRefusal.preencode(state, hello.refusal)
  },
  encode(state, hello) {
    protocolVersion.encode(state, hello.version)
    flags.encode(state, fieldsOfHello(hello))
    agent.encode(state, hello.agent)
    dtypeNumbers.encode(state, numbersOf(hello.dtypes))
    serversCodec.encode(state, hello.servers)
    if (hello.proof) framedProof.encode(state, hello.proof)
    if (hello.refusal) framedRefusal.encode(state, hello.refusal)
  },
  decode(state) {
    const version = protocolVersion.decode(state)
    if (version < MIN_VERSION) {
      throw unsupported(`The hello is refused: version ${version} is below ${MIN_VERSION}`)
    }
    const bits = flags.decode(state)
    const hello: { -readonly [K in keyof Hello]: Hello[K] } = {
      version,
      agent: agent.decode(state),
      // A later version may know more of them.
      dtypes: dtypeNumbers.decode(state).flatMap((number) => DTYPES[number] ?? []),
      servers: serversCodec.decode(state)
    }
    decodeFields(state, bits, [
      (field) => (hello.proof = proof.decode(field)),
      (field) => (hello.refusal = errorCodec.decode(field))
    ])
    return hello
  }
}

const revocations = bytesUpTo(LIMITS.revocationBytes, 'the list of revoked invites')
const framedRevocations = framed(revocations)

export const announceCodec: Codec<Announce> = {
  preencode(state, message) {
    flags.preencode(state, message.revocations ? 1 : 0)
    serversCodec.preencode(state, message.servers)
    if (message.revocations) framedRevocations.preencode(state, message.revocations)
  },
  encode(state, message) {
    flags.encode(state, message.revocations ? 1 : 0)
    serversCodec.encode(state, message.servers)
    if (message.revocations) framedRevocations.encode(state, message.revocations)
  },
  decode(state) {
    const bits = flags.decode(state)
    const message: { -readonly [K in keyof Announce]: Announce[K] } = {
      servers: serversCodec.decode(state)
    }
    decodeFields(state, bits, [(field) => (message.revocations = revocations.decode(field))])
    return message
  }
}

function numbersOf(dtypes: readonly WireDtype[]): readonly number[] {
  return dtypes.map((dtype) => DTYPES.indexOf(dtype))
}

function checkSpan(info: ServerInfo): void {
  for (const { start, end } of info.next ? [info, info.next] : [info]) {
    if (start < end && end <= info.blockCount) continue
    throw protocolError(
      `The server's info is refused: blocks ${start}:${end} of ${info.blockCount}`
    )
  }
}
