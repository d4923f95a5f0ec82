// Two ends of one encrypted stream in memory: real secret-streams over a pipe that a test can hold.
import { createRequire } from 'node:module'
import { PeerLink } from '../../src/wire/link.ts'
import type { LinkHandlers, LinkOptions } from '../../src/wire/handlers.ts'
import type { LinkStream } from '../../src/wire/link-stream.ts'
import type { Hello } from '../../src/wire/types.ts'

interface SecretStream extends LinkStream {
  readonly rawStream: { pipe(to: unknown): unknown; pause(): void; resume(): void }
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
  one.rawStream.pipe(two.rawStream)
  two.rawStream.pipe(one.rawStream)
  await Promise.all([openedOf(one), openedOf(two)])
  return [one, two]
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
