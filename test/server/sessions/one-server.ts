// One block server over a fake engine, told things by hand; peers keep what it answers.
import { BlockServer, type BlockServerOptions } from '../../../src/server/sessions/block-server.ts'
import type { ServerLink } from '../../../src/server/links.ts'
import { encodeTensor } from '../../../src/wire/tensor.ts'
import type { SessionOpened, Step, StepResult, WireError } from '../../../src/wire/types.ts'
import { FakeCompute } from '../../support/fakes/fake-compute.ts'

const HIDDEN = 4
const MODEL: Uint8Array = new Uint8Array(32).fill(7)

export class Peer implements ServerLink {
  readonly peer: string
  results: StepResult[] = []
  errors: WireError[] = []
  openings: SessionOpened[] = []
  #wake: () => void = () => {}

  constructor(peer: string) {
    this.peer = peer
  }

  opened(message: SessionOpened): void {
    this.openings.push(message)
    this.#wake()
  }

  result(message: StepResult): void {
    this.results.push(message)
    this.#wake()
  }

  error(message: WireError): void {
    this.errors.push(message)
    this.#wake()
  }

  step(): void {
    throw new Error('A client is pushed nothing')
  }

  /** Resolves when this many answers and errors have come. */
  async until(count: number): Promise<void> {
    while (this.results.length + this.errors.length < count) {
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }
}

export async function serve(
  more: Partial<BlockServerOptions> = {}
): Promise<{ server: BlockServer; compute: FakeCompute }> {
  const compute = new FakeCompute(HIDDEN)
  const server = new BlockServer({
    compute,
    span: compute.span(2, 4),
    model: MODEL,
    self: new Uint8Array(32).fill(1),
    capacityTokens: 100,
    reach: () => Promise.reject(new Error('nobody is there')),
    limits: { sessionsPerPeer: 2, sessions: 3 },
    queuePerPeer: 4,
    ...more
  })
  await server.ready()
  return { server, compute }
}

export function id(value: number): Uint8Array {
  return new Uint8Array(16).fill(value)
}

export async function open(
  server: BlockServer,
  peer: Peer,
  session: number,
  more = {}
): Promise<void> {
  const message = { session: id(session), model: MODEL, start: 2, end: 4, maxTokens: 20, ...more }
  await server.open(peer, message)
}

export function step(
  session: number,
  number: number,
  start: number,
  count = 1,
  more: Partial<Step> = {}
): Step {
  const values = Float32Array.from({ length: count * HIDDEN }, (_, i) => start + i)
  return {
    session: id(session),
    step: number,
    kind: 'forward',
    start,
    count,
    deadlineMs: 1000,
    route: [],
    tensor: encodeTensor(values, count, HIDDEN, 'f32'),
    ...more
  }
}

export function codes(peer: Peer): string[] {
  return peer.errors.map((error) => error.code)
}
