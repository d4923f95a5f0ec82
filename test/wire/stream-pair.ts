// Two ends of one encrypted stream in memory: real secret-streams over a pipe that a test can hold.
import { createRequire } from 'node:module'
import { PeerLink } from '../../src/wire/link.ts'
import type { LinkHandlers, LinkOptions } from '../../src/wire/link.ts'
import type { LinkStream } from '../../src/wire/link-stream.ts'
import type { Hello } from '../../src/wire/types.ts'

interface SecretStream extends LinkStream {
  readonly rawStream: {
    readonly remoteHost: null
    on(event: 'data', listener: (bytes: Uint8Array) => void): void
    on(event: 'end' | 'close', listener: () => void): void
    write(bytes: Uint8Array): void
    end(): void
    destroy(): void
    /** What this end sends stays in it, until resume(). */
    pause(): void
    resume(): void
  }
  write(frame: Uint8Array): boolean
}

type SecretStreamClass = new (isInitiator: boolean) => SecretStream

// hyperdht's own copy: the package is not a dependency of ours.
const fromHyperdht = createRequire(createRequire(import.meta.url).resolve('hyperdht'))
const SecretStreamOf: SecretStreamClass = fromHyperdht('@hyperswarm/secret-stream')

/** Two connected streams, handshake done. */
export async function streamPair(): Promise<readonly [SecretStream, SecretStream]> {
  const one = new SecretStreamOf(true)
  const two = new SecretStreamOf(false)
  connect(one, two)
  connect(two, one)
  await Promise.all([openedOf(one), openedOf(two)])
  return [one, two]
}

function connect(from: SecretStream, to: SecretStream): void {
  from.rawStream.on('data', (bytes) => to.rawStream.write(bytes))
  from.rawStream.on('end', () => to.rawStream.end())
  from.rawStream.on('close', () => to.rawStream.destroy())
}

async function openedOf(stream: SecretStream): Promise<void> {
  await (stream as unknown as { opened: Promise<boolean> }).opened
}

export const helloOfNobody: Hello = { version: 1, agent: 'test', dtypes: ['f32'], servers: [] }

export interface LinkPair {
  readonly a: PeerLink
  readonly b: PeerLink
  readonly streams: readonly [SecretStream, SecretStream]
}

type SideOptions = Omit<Partial<LinkOptions>, 'handlers'>

/** Two links over one stream; options go to both ends. */
export async function linkPair(
  handlersOfA: LinkHandlers,
  handlersOfB: LinkHandlers,
  options: SideOptions = {}
): Promise<LinkPair> {
  const streams = await streamPair()
  const [one, two] = streams
  const a = new PeerLink(one, { hello: helloOfNobody, ...options, handlers: handlersOfA })
  const b = new PeerLink(two, { hello: helloOfNobody, ...options, handlers: handlersOfB })
  return { a, b, streams }
}
