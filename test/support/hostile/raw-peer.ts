// A peer without manners: an encrypted connection on which any bytes can be sent as frames, before
// any hello and in any order, and what came back by type. Knows protomux's frames, not its code.
import type DHT from 'hyperdht'
import type { Random } from '../../../src/base/random.ts'
import { openModel } from '../../../src/model/open-model.ts'
import { createIdentity, type Identity } from '../../../src/swarm/identity.ts'
import { helloCodec } from '../../../src/wire/codec/info.ts'
import { sizeOf, type Codec } from '../../../src/wire/codec/fields.ts'
import { CODECS, type Messages } from '../../../src/wire/messages.ts'
import { MESSAGE_TYPES, PROTOCOL_NAME, type MessageType } from '../../../src/wire/protocol.ts'
import { encodeTensor } from '../../../src/wire/tensor.ts'
import type { Hop, OpenSession, Step, WireError } from '../../../src/wire/types.ts'

import { storiesLocation } from '../models/stories.ts'

type RawStream = DHT.Connection & {
  write(frame: Uint8Array): boolean
  on(event: 'end', listener: () => void): unknown
}

/** Number of the channel at this end. */
const CHANNEL = 1
const TYPES = Object.keys(MESSAGE_TYPES) as MessageType[]

export interface Target {
  readonly key: Uint8Array
  readonly model: Uint8Array
  readonly blockCount: number
  readonly hiddenSize: number
}

export class RawPeer {
  readonly target: Target
  readonly counts: Map<MessageType, number> = new Map()
  readonly errors: WireError[] = []
  /** Everything that came, also before the channel was open. */
  readonly frames: Uint8Array[] = []
  keepsFrames = false
  closed = false
  readonly #stream: RawStream
  readonly #opened: Promise<void>
  readonly #waiting = new Set<() => void>()

  constructor(dht: DHT, target: Target, identity: Identity = createIdentity()) {
    this.target = target
    this.#stream = dht.connect(Buffer.from(target.key), { keyPair: identity }) as RawStream
    const opened = Promise.withResolvers<void>()
    this.#opened = opened.promise
    this.#stream.on('error', () => {})
    this.#stream.on('close', () => {
      this.closed = true
      opened.resolve()
      this.#wake()
    })
    // Who says goodbye is not made to wait for ours.
    this.#stream.on('end', () => this.#stream.destroy())
    this.#stream.on('handshake', () => opened.resolve())
    this.#stream.on('data', (frame) => this.#take(frame))
  }

  get handshakeHash(): Uint8Array | null {
    return this.#stream.handshakeHash
  }

  get publicKey(): Uint8Array {
    return this.#stream.publicKey
  }

  /** Resolves when the connection stands or has failed. */
  ready(): Promise<void> {
    return this.#opened
  }

  raw(frame: Uint8Array): void {
    if (!this.closed) this.#stream.write(frame)
  }

  bytes(type: number, bytes: Uint8Array): void {
    this.raw(Buffer.concat([new Uint8Array([CHANNEL, type]), bytes]))
  }

  send<K extends MessageType>(type: K, message: Messages[K]): void {
    this.bytes(MESSAGE_TYPES[type], encode(CODECS[type] as Codec<Messages[K]>, message))
  }

  hello(): void {
    this.raw(helloFrame())
  }

  open(session: Uint8Array, more: Partial<OpenSession> = {}): void {
    const { model, blockCount } = this.target
    this.send('open', { session, model, start: 0, end: blockCount, maxTokens: 512, ...more })
  }

  step(session: Uint8Array, step: number, rows: number, more: Partial<Step> = {}): void {
    this.send('step', stepOf(this.target, session, step, rows, more))
  }

  /** Stops reading for good. */
  pause(): void {
    this.#stream.pause()
  }

  vanish(): void {
    this.#stream.destroy()
  }

  count(type: MessageType): number {
    return this.counts.get(type) ?? 0
  }

  /** Resolves when `holds` or the connection is closed. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds() && !this.closed) {
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
  }

  #take(frame: Uint8Array): void {
    if (this.keepsFrames) this.frames.push(new Uint8Array(frame))
    const type = TYPES[frame[1] ?? 255]
    if (frame[0] === 0 || type === undefined) return
    this.counts.set(type, this.count(type) + 1)
    if (type === 'error') {
      const bytes = frame.subarray(2)
      this.errors.push(CODECS.error.decode({ start: 0, end: bytes.byteLength, buffer: bytes }))
    }
    this.#wake()
  }

  #wake(): void {
    for (const wake of this.#waiting) wake()
    this.#waiting.clear()
  }
}

/** What a raw peer must know of a server of stories260K. */
export async function targetOf(key: Uint8Array): Promise<Target> {
  const model = await openModel(storiesLocation)
  const { blockCount, hiddenSize } = model.config
  const target = { key, model: model.contentId, blockCount, hiddenSize }
  model.close()
  return target
}

export function sessionId(random: Random): Uint8Array {
  return Uint8Array.from({ length: 16 }, () => random.below(256))
}

export function stepOf(
  target: Target,
  session: Uint8Array,
  step: number,
  rows: number,
  more: Partial<Step> = {}
): Step {
  const values = Float32Array.from({ length: rows * target.hiddenSize }, (_, i) => (i % 7) / 7)
  return {
    session,
    step,
    kind: 'forward',
    start: 0,
    count: rows,
    deadlineMs: 60_000,
    route: [],
    tensor: encodeTensor(values, rows, target.hiddenSize, 'f32'),
    ...more
  }
}

/** protomux's opening of the channel with a hello in it. */
export function helloFrame(proof?: Uint8Array): Uint8Array {
  const hello = encode(helloCodec, {
    version: 1,
    agent: 'raw',
    dtypes: ['f32'],
    servers: [],
    ...(proof ? { proof } : {})
  })
  const name = Buffer.from(PROTOCOL_NAME)
  return Buffer.concat([
    new Uint8Array([0, 1, CHANNEL, name.length]),
    name,
    new Uint8Array(1),
    hello
  ])
}

/** A valid message of every type about a session, as bytes. */
export function everyMessage(target: Target, session: Uint8Array): [number, Uint8Array][] {
  const { key: peer, model, blockCount } = target
  const status = { queue: 1, freeTokens: 2, computeMs: 3, queueMs: 4 }
  const hop: Hop = { peer, start: 0, end: blockCount }
  const step = stepOf(target, session, 1, 3, { route: [hop], answerRows: 1, mirror: true })
  const { tensor } = step
  const mark = { length: 2, label: session }
  const messages: Messages = {
    open: { session, model, start: 0, end: blockCount, maxTokens: 64, prefix: [mark] },
    opened: { session, status, held: 2 },
    step,
    result: { session, step: 1, start: 0, count: 3, end: 1, trace: [{ peer, status }], tensor },
    error: {
      session,
      step: 1,
      code: 'BUSY',
      message: 'no',
      retryable: true,
      retryAfterMs: 5,
      status
    },
    cancel: { session, step: 1 },
    close: { session },
    ping: { nonce: 5 },
    pong: { nonce: 5, status },
    announce: { servers: [] },
    keep: { session, step: 1, marks: [mark], shared: [mark] },
    want: { request: 1, what: 1, name: 'f'.repeat(64), start: 0, count: 0 },
    give: { request: 1, left: 0, data: new Uint8Array(3) },
    tune: { request: 1, left: 9, data: new Uint8Array(3) },
    tuned: { request: 1, left: 0, data: new Uint8Array(3) }
  }
  return TYPES.map((type) => [
    MESSAGE_TYPES[type],
    encode(CODECS[type] as Codec<Messages[typeof type]>, messages[type])
  ])
}

/** A message as a frame of the channel. */
export function frameOf<K extends MessageType>(type: K, message: Messages[K]): Uint8Array {
  const bytes = encode(CODECS[type] as Codec<Messages[K]>, message)
  return Buffer.concat([new Uint8Array([CHANNEL, MESSAGE_TYPES[type]]), bytes])
}

/** As compact-encoding writes a whole number, for claims that our own codecs refuse to make. */
export function uint(value: number): Uint8Array {
  if (value < 0xfd) return new Uint8Array([value])
  const bytes = new Uint8Array(9)
  bytes[0] = 0xff
  new DataView(bytes.buffer).setBigUint64(1, BigInt(value), true)
  return bytes
}

function encode<T>(codec: Codec<T>, message: T): Uint8Array {
  const buffer = new Uint8Array(sizeOf(codec, message))
  codec.encode({ start: 0, end: buffer.byteLength, buffer }, message)
  return buffer
}
