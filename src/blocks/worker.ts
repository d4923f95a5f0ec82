// The compute worker: a thread that owns the engine and executes messages one after another.
// compute.ts starts it and talks to it; which rows run when is the scheduler's decision, on the
// main thread.
import { setPriority } from 'node:os'
import { cancelled, closed } from '../base/errors.ts'
import { createBackend } from './create-backend.ts'
import { Engine } from './engine/engine.ts'
import type { ComputeBackend, StopFlag } from './engine/loaded-span.ts'
import {
  errorRecord,
  transfersOf,
  type Calls,
  type PieceReply,
  type Reply,
  type Request,
  type StartReply
} from './messages.ts'
import type { RunPiece } from './scheduler/step-job.ts'

/** Niceness: on a busy machine the network has priority. */
const PRIORITY = 10

declare const self: {
  onmessage: ((event: MessageEvent<Request>) => void) | null
  postMessage(message: Reply, transfer?: ArrayBuffer[]): void
}

/** Ids of loadings that were cancelled. */
const stopping = new Set<number>()
let backend: ComputeBackend | undefined
let engine: Engine | undefined
let stopFlag: StopFlag = { word: new Int32Array(1) }

type Answer = Calls[keyof Calls]['answer']

self.onmessage = ({ data }) => {
  const { id } = data
  try {
    const answer = handle(data)
    if (answer instanceof Promise) answer.then((value) => reply(id, value), refuse(id))
    else reply(id, answer)
  } catch (error) {
    refuse(id)(error)
  }
}

function handle(request: Request): Answer | Promise<Answer> {
  if (request.kind === 'start') return start(request.args)
  if (engine === undefined) throw closed('The compute worker has not started')
  switch (request.kind) {
    case 'loadSpan':
      return engine.loadSpan(request.args, checkpoint(request.id))
    case 'unloadSpan':
      engine.unloadSpan(request.args.span)
      return undefined
    case 'openSession':
      return engine.openSession(request.args.span, request.args.range, request.args.adapters)
    case 'loadAdapter':
      return engine.loadAdapter(request.args.span, request.args.adapter)
    case 'unloadAdapter':
      engine.unloadAdapter(request.args.adapter)
      return undefined
    case 'forkSession':
      return engine.forkSession(request.args.session, request.args.length)
    case 'closeSession':
      engine.closeSession(request.args.session)
      return undefined
    case 'run':
      return run(engine, request.args.pieces)
    case 'train': {
      const { job, step } = request.args
      if (step !== undefined) engine.beginTrain(job, step)
      return engine.train(job, stopFlag) ?? null
    }
    case 'headLoss':
      return engine.headLoss(request.args)
    case 'headRows':
      return engine.headRows(request.args)
    case 'endTrain':
      engine.endTrain(request.args.job)
      return undefined
    case 'loadHead':
      return engine.loadHead(request.args.location, request.args.quant)
    case 'unloadHead':
      engine.unloadHead(request.args.head)
      return undefined
    case 'head':
      return engine.head(request.args.head, request.args.hidden, stopFlag)
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

function start(options: Calls['start']['args']): StartReply {
  try {
    // On Linux this affects only this thread. Elsewhere it would affect the whole process, so it is
    // not done.
    if (process.platform === 'linux') setPriority(PRIORITY)
  } catch {
    // Lowering the priority may be forbidden; that is no reason to stop.
  }
  stopFlag = { word: options.stop }
  backend = createBackend(options, (warning) => self.postMessage({ warning }))
  engine = new Engine(backend, options.memoryBytes)
  const { buildInfo, chunkRows } = backend
  return { buildInfo, chunkRows }
}

function stop(): void {
  engine?.[Symbol.dispose]()
  engine = undefined
  backend?.[Symbol.dispose]()
}

function run(owner: Engine, pieces: readonly RunPiece[]): PieceReply[] {
  const outcomes = owner.run(pieces, stopFlag)
  return outcomes.map((one) => (one instanceof Float32Array ? one : errorRecord(one)))
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Lets messages be handled between two matrices of a loading. */
function checkpoint(id: number): () => Promise<void> {
  return async () => {
    await nextTurn()
    if (stopping.delete(id)) throw cancelled('Loading was cancelled')
  }
}

function reply(id: number, answer: Answer): void {
  self.postMessage({ id, ok: true, answer }, transfersOf(answer))
}

function refuse(id: number): (thrown: unknown) => void {
  return (thrown) => self.postMessage({ id, ok: false, error: errorRecord(thrown) })
}
