// A server without manners: takes connections and answers every message with whatever bytes a seed
// says, whole, spoiled, or of another kind. For test/client/hostile-wire.test.ts.
import DHT from 'hyperdht'
import type { Random } from '../../../src/base/random.ts'
import { createIdentity, type Identity } from '../../../src/swarm/identity.ts'
import { CODECS } from '../../../src/wire/messages.ts'
import { MESSAGE_TYPES } from '../../../src/wire/protocol.ts'
import { spoil } from './hostile.ts'
import { everyMessage, frameOf, helloFrame, type Target } from './raw-peer.ts'

type Stream = DHT.Connection & { write(frame: Uint8Array): boolean }

/** What the declarations leave out. */
interface Serving {
  createServer(
    options: object,
    onconnection: (stream: Stream) => void
  ): { listen(identity: Identity): Promise<void> }
}

const STATUS = { queue: 0, freeTokens: 100_000, computeMs: 0, queueMs: 0 }

export class RawServer implements AsyncDisposable {
  readonly identity: Identity = createIdentity()
  /** Frames that it sent. */
  sent = 0
  readonly #dht: DHT
  readonly #target: Target
  readonly #random: Random

  constructor(bootstrap: { host: string; port: number }, target: Target, random: Random) {
    this.#dht = new DHT({ bootstrap: [bootstrap], host: '127.0.0.1', firewalled: false })
    this.#target = { ...target, key: this.identity.publicKey }
    this.#random = random
  }

  async listen(): Promise<void> {
    const dht = this.#dht as DHT & Serving
    const server = dht.createServer({}, (stream) => this.#take(stream))
    await server.listen(this.identity)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dht.destroy({ force: true })
  }

  #take(stream: Stream): void {
    stream.on('error', () => {})
    const write = (frame: Uint8Array): void => {
      if (stream.destroyed) return
      this.sent++
      stream.write(frame)
    }
    stream.on('data', (frame: Uint8Array) => {
      if (frame[0] === 0) return this.#greet(stream, write)
      const body = frame.subarray(2)
      const state = { start: 0, end: body.byteLength, buffer: body }
      if (frame[1] === MESSAGE_TYPES.ping) {
        const { nonce } = CODECS.ping.decode(state)
        write(frameOf('pong', { nonce, status: STATUS }))
      } else if (frame[1] === MESSAGE_TYPES.open) {
        this.#answer(stream, write, CODECS.open.decode(state).session, -1)
      } else if (frame[1] === MESSAGE_TYPES.step) {
        const { session, step } = CODECS.step.decode(state)
        this.#answer(stream, write, session, step)
      }
    })
  }

  #greet(stream: Stream, write: (frame: Uint8Array) => void): void {
    switch (this.#random.below(6)) {
      case 0:
        write(spoil(helloFrame(), this.#random))
        return void stream.destroy()
      case 1:
        return void stream.destroy()
      default:
        write(helloFrame())
    }
  }

  /** Something that ends the wait comes last, so that a test is quick. */
  #answer(
    stream: Stream,
    write: (frame: Uint8Array) => void,
    session: Uint8Array,
    step: number
  ): void {
    const random = this.#random
    const opens = step < 0 && random.below(3) > 0
    if (opens) write(frameOf('opened', { session, status: STATUS }))
    const messages = everyMessage(this.#target, random.below(8) === 0 ? noise(random) : session)
    for (let left = random.below(5); left > 0; left--) {
      const [type, bytes] = messages[random.below(messages.length)] ?? [0, new Uint8Array(1)]
      const spoiled = random.below(3) === 0 ? bytes : spoil(bytes, random)
      write(Buffer.concat([new Uint8Array([1, random.below(12) === 0 ? 200 : type]), spoiled]))
    }
    if (random.below(4) === 0) stream.destroy()
    else if (!opens) {
      const told = { session, step, message: '\u001b[2J', retryable: true, retryAfterMs: 0 }
      write(frameOf('error', { ...told, code: 'COMPUTE', status: STATUS }))
    }
  }
}

function noise(random: Random): Uint8Array {
  return Uint8Array.from({ length: 16 }, () => random.below(256))
}
