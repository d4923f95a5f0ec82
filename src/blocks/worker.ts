// The compute worker: a thread that owns everything of onnxruntime and does what messages ask.
// Between two runs it reads its messages, so a long prompt holds nobody up for longer than a piece of it.
// compute.ts starts it and speaks for it; it never sees a peer.
import { setPriority } from 'node:os'
import { systemClock } from '../base/clock.ts'
import { cancelled, closed } from '../base/errors.ts'
import { createBackend } from './create-backend.ts'
import { Engine, type Steps } from './engine/engine.ts'
import { SLOT_COUNTS } from './graph/slots.ts'
import type { Picked, QueuedJob } from './engine/job-queue.ts'
import { useLargePages } from './weights/large-pages.ts'
import { errorRecord, transfersOf, type Calls, type Reply, type Request } from './messages.ts'
import type { Backend } from './backend.ts'
import { SHORT_ROWS } from './engine/run-policy.ts'
import type { StepJob } from './engine/step-job.ts'
import { StepPump } from './engine/step-pump.ts'

/** Niceness: on a busy machine the network comes first. */
const PRIORITY = 10

declare const self: {
  onmessage: ((event: MessageEvent<Request>) => void) | null
  postMessage(message: Reply, transfer?: ArrayBuffer[]): void
}

/** Steps and heads that wait, by the id of their request. */
interface WorkerJob extends QueuedJob {
  readonly id: number
  /** Undefined for a head, which runs by itself. */
  readonly step?: StepJob
  /** Runs a chunk by itself; true when that was the last. */
  advance(rows: number): boolean
}

const pump = new StepPump<WorkerJob>({
  clock: systemClock,
  slots: SLOT_COUNTS.at(-1) ?? 1,
  rows: () => backend?.chunkRows ?? 1,
  run: runPicked
})
/** Loadings under way that were asked to stop. */
const stopping = new Set<number>()
let backend: Backend | undefined
let engine: Engine | undefined

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
      for (const session of engine.unloadSpan(request.args.span)) pump.drop(sessionLane(session))
      return undefined
    case 'openSession':
      return engine.openSession(request.args.span, request.args.range)
    case 'forkSession':
      return engine.forkSession(request.args.session, request.args.length)
    case 'closeSession':
      engine.closeSession(request.args.session)
      pump.drop(sessionLane(request.args.session))
      return undefined
    case 'step':
      return enqueueStep(engine, request.id, request.args)
    case 'loadHead':
      return inLargePages(engine.loadHead(request.args.location, request.args.quant))
    case 'unloadHead':
      engine.unloadHead(request.args.head)
      pump.drop(headLane(request.args.head))
      return undefined
    case 'head': {
      const { head, hidden, run } = request.args
      return enqueueHead(headLane(head), request.id, engine.head(head, hidden, run))
    }
    case 'stats':
      return engine.stats()
    case 'cancel':
      stopping.add(request.args.id)
      return undefined
    case 'abort': {
      const job = pump.queue.remove(({ id }) => id === request.args.id)
      job?.step?.stop()
      if (job) refuse(job.id)(cancelled('The step was cancelled'))
      return undefined
    }
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

function enqueueStep(owner: Engine, id: number, args: Calls['step']['args']): typeof QUEUED {
  const step = owner.step(args, args.run)
  const job: WorkerJob = {
    id,
    step,
    get group() {
      return owner.groupOf(args.session)
    },
    get rows() {
      return step.rowsLeft
    },
    short: args.count <= SHORT_ROWS,
    advance: (rows) => settle(id, () => step.next(rows)),
    drop: () => refuse(id)(closed('The session was closed while it computed'))
  }
  pump.push(sessionLane(args.session), job, args.gapMs)
  return QUEUED
}

function enqueueHead(lane: string, id: number, steps: Steps<Answer>): typeof QUEUED {
  pump.push(lane, {
    id,
    group: undefined,
    rows: 1,
    short: true,
    advance: () => settle(id, () => steps.next()),
    drop: () => refuse(id)(closed('The head was unloaded while it computed'))
  })
  return QUEUED
}

/** Answers with what `next` gives; true when there is no more to come. */
function settle(id: number, next: () => Answer | undefined): boolean {
  try {
    const answer = next()
    if (answer === undefined) return false
    reply(id, answer)
  } catch (error) {
    refuse(id)(error)
  }
  return true
}

function runPicked(picked: readonly Picked<WorkerJob>[]): boolean[] {
  const [first, ...others] = picked
  if (first !== undefined && others.length === 0) return [first.job.advance(first.rows)]
  const shares = picked.flatMap(({ job, rows }) => (job.step ? [{ job: job.step, rows }] : []))
  const outcomes = engine?.together(shares) ?? []
  return picked.map(({ job }, i) => {
    const outcome = outcomes[i]
    if (outcome?.error) refuse(job.id)(outcome.error)
    else if (outcome?.answer) reply(job.id, outcome.answer)
    return outcome !== undefined
  })
}

function reply(id: number, answer: Answer): void {
  self.postMessage({ id, ok: true, answer }, transfersOf(answer))
}

function refuse(id: number): (thrown: unknown) => void {
  return (thrown) => self.postMessage({ id, ok: false, error: errorRecord(thrown) })
}
