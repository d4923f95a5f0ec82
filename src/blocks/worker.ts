// The compute worker: a thread that owns everything of onnxruntime and does what messages ask.
// Between two chunks it reads its messages, so a long prompt holds nobody up for longer than a chunk.
// compute.ts starts it and speaks for it; it never sees a peer.
import { setPriority } from 'node:os'
import { systemClock } from '../base/clock.ts'
import { cancelled, closed } from '../base/errors.ts'
import { createBackend } from './create-backend.ts'
import { Engine, type Steps } from './engine.ts'
import { JobQueue, type Job } from './job-queue.ts'
import { useLargePages } from './large-pages.ts'
import { errorRecord, transfersOf, type Calls, type Reply, type Request } from './messages.ts'
import type { Backend } from './backend.ts'

/** Niceness: on a busy machine the network comes first. */
const PRIORITY = 10

declare const self: {
  onmessage: ((event: MessageEvent<Request>) => void) | null
  postMessage(message: Reply, transfer?: ArrayBuffer[]): void
}

const queue = new JobQueue()
/** Loadings under way that were asked to stop. */
const stopping = new Set<number>()
let backend: Backend | undefined
let engine: Engine | undefined
let pumping = false

self.onmessage = ({ data }) => {
  const { id } = data
  try {
    const answer = handle(data)
    if (answer instanceof Promise) answer.then((value) => reply(id, value), refuse(id))
    else if (answer !== QUEUED) reply(id, answer)
  } catch (error) {
    refuse(id)(error)
  }
}

/** The answer comes later, from the queue. */
const QUEUED = Symbol('queued')
type Answer = Calls[keyof Calls]['answer']

function handle(request: Request): Answer | Promise<Answer> | typeof QUEUED {
  if (request.kind === 'start') return start(request.args)
  if (engine === undefined) throw closed('The compute worker has not started')
  switch (request.kind) {
    case 'loadSpan':
      return inLargePages(engine.loadSpan(request.args, checkpoint(request.id)))
    case 'unloadSpan':
      for (const session of engine.unloadSpan(request.args.span)) queue.drop(sessionLane(session))
      return undefined
    case 'openSession':
      return engine.openSession(request.args.span, request.args.range)
    case 'forkSession':
      return engine.forkSession(request.args.session, request.args.length)
    case 'closeSession':
      engine.closeSession(request.args.session)
      queue.drop(sessionLane(request.args.session))
      return undefined
    case 'step':
      return enqueue(
        sessionLane(request.args.session),
        request.id,
        engine.step(request.args, request.args.run)
      )
    case 'loadHead':
      return inLargePages(engine.loadHead(request.args.location, request.args.quant))
    case 'unloadHead':
      engine.unloadHead(request.args.head)
      queue.drop(headLane(request.args.head))
      return undefined
    case 'head': {
      const { head, hidden, run } = request.args
      return enqueue(headLane(head), request.id, engine.head(head, hidden, run))
    }
    case 'stats':
      return engine.stats()
    case 'cancel':
      stopping.add(request.args.id)
      return undefined
    case 'cut':
      engine.cutSession(request.args.session, request.args.length)
      return undefined
    case 'stop':
      stop()
      return undefined
    default:
      throw new TypeError(`Unknown request '${JSON.stringify(request)}'`)
  }
}

const sessionLane = (session: number): string => `session ${session}`
const headLane = (head: number): string => `head ${head}`

function start(options: Calls['start']['args']): string {
  try {
    // Only this thread: the number of a thread on Linux, and ignored where that means the process.
    if (process.platform === 'linux') setPriority(PRIORITY)
  } catch {
    // Not being allowed to step back is no reason to stop.
  }
  backend = createBackend(options, (warning) => self.postMessage({ warning }))
  engine = new Engine(backend, options.memoryBytes, systemClock)
  return backend.runtime.buildInfo
}

function stop(): void {
  engine?.[Symbol.dispose]()
  engine = undefined
  backend?.runtime[Symbol.dispose]()
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Lets messages in between two matrices of a loading. */
function checkpoint(id: number): () => Promise<void> {
  return async () => {
    await nextTurn()
    if (stopping.delete(id)) throw cancelled('Loading was cancelled')
  }
}

/** What was loaded, once it lies where it is read fastest. */
async function inLargePages<T>(loading: Promise<T>): Promise<T> {
  const loaded = await loading
  for (const _ of useLargePages()) await nextTurn()
  return loaded
}

function enqueue(lane: string, id: number, steps: Steps<Answer>): typeof QUEUED {
  const job: Job = {
    advance() {
      try {
        const answer = steps.next()
        if (answer === undefined) return false
        reply(id, answer)
      } catch (error) {
        refuse(id)(error)
      }
      return true
    },
    drop() {
      refuse(id)(closed('The session was closed while it computed'))
    }
  }
  queue.push(lane, job)
  if (!pumping) pump()
  return QUEUED
}

/** Runs one chunk now, and one each time the messages that came meanwhile have been read. */
function pump(): void {
  queue.runOne()
  pumping = !queue.idle
  if (pumping) setImmediate(pump)
}

function reply(id: number, answer: Answer): void {
  self.postMessage({ id, ok: true, answer }, transfersOf(answer))
}

function refuse(id: number): (thrown: unknown) => void {
  return (thrown) => self.postMessage({ id, ok: false, error: errorRecord(thrown) })
}
