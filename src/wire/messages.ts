// Every message of the channel by name: its type, its codec and whether it is about a session.
import { protocolError } from '../base/errors.ts'
import { announceCodec } from './codec/info.ts'
import { keepCodec, openCodec, openedCodec } from './codec/open.ts'
import { resultCodec, stepCodec } from './codec/step.ts'
import { cancelCodec, closeCodec, errorCodec, pingCodec, pongCodec } from './codec/control.ts'
import { tuneCodec, tunedCodec } from './codec/tune.ts'
import { giveCodec, wantCodec } from './codec/weights.ts'
import type { Codec } from './codec/fields.ts'
import type { MessageType } from './protocol.ts'
import type {
  Announce,
  CancelStep,
  CloseSession,
  Give,
  KeepPrefix,
  OpenSession,
  Ping,
  Pong,
  ServerInfo,
  SessionOpened,
  Step,
  StepResult,
  Tune,
  Tuned,
  Want,
  WireError
} from './types.ts'

export interface Messages {
  open: OpenSession
  opened: SessionOpened
  step: Step
  result: StepResult
  error: WireError
  cancel: CancelStep
  close: CloseSession
  ping: Ping
  pong: Pong
  announce: Announce
  keep: KeepPrefix
  want: Want
  give: Give
  tune: Tune
  tuned: Tuned
}

export const CODECS: { readonly [K in MessageType]: Codec<Messages[K]> } = {
  open: openCodec,
  opened: openedCodec,
  step: stepCodec,
  result: resultCodec,
  error: errorCodec,
  cancel: cancelCodec,
  close: closeCodec,
  ping: pingCodec,
  pong: pongCodec,
  announce: announceCodec,
  keep: keepCodec,
  want: wantCodec,
  give: giveCodec,
  tune: tuneCodec,
  tuned: tunedCodec
}

const IDLE: ReadonlySet<MessageType> = new Set(['ping', 'pong', 'announce'])
const SESSIONLESS: ReadonlySet<MessageType> = new Set([...IDLE, 'want', 'give', 'tune', 'tuned'])

/**
 * Whether the message shows that the link serves somebody, so that it is not closed as a spare one.
 */
export function isUse(type: MessageType): boolean {
  return !IDLE.has(type)
}

export function isAboutSession(type: MessageType): boolean {
  return !SESSIONLESS.has(type)
}

/** A peer may describe only itself. @throws AppError PROTOCOL */
export function checkOwn(peer: Uint8Array, servers: readonly ServerInfo[]): void {
  if (servers.every((info) => Buffer.compare(info.peer, peer) === 0)) return
  throw protocolError('The peer presents a server that it is not')
}
