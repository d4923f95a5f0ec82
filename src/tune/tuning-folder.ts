// The folder of a training: its lock, checkpoints, log, chart, and what was learnt in the end. A
// write that fails, e.g. on a full disk, is told and tried again; nothing is lost meanwhile. Knows
// no steps.
import { appendFile, mkdir, readdir, readFile, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { sleep, type Clock } from '../base/clock.ts'
import { AppError, inUse } from '../base/errors.ts'
import { fileError, folderError } from '../base/files/file-error.ts'
import { tryFileLock, type Release } from '../base/files/file-lock.ts'
import { replaceFile } from '../base/files/replace-file.ts'
import { readCheckpoint, writeCheckpoint, type Checkpoint } from './checkpoint.ts'
import { lossChart, type LossPoint } from './loss-chart.ts'
import { PROMPTS } from './adapter/keep.ts'

export interface TuningFolderOptions {
  readonly clock: Clock
  /** Told of a write that failed and will be tried again. */
  readonly onproblem?: ((error: AppError) => void) | undefined
}

/** A line of the log. */
export interface LoggedStep extends LossPoint {
  readonly [fact: string]: unknown
}

const CHECKPOINT = 'checkpoint.safetensors'
const LOG = 'log.jsonl'
const STATE = "The training's state"
const CHART = 'loss.svg'
/** What another training would overwrite. */
const RESULTS = [CHECKPOINT, 'adapter_config.json', PROMPTS]
/** As replace-file.ts names a file before it is whole. */
const PART = /^[a-z_]+\.(safetensors|jsonl?|svg)\.[\da-f-]{36}\.tmp$/
/** Before a failed write is tried again, ms. */
const RETRY_MS = 5000
/** How often failures are told, ms. */
const TELL_MS = 60_000

/**
 * Refuses a folder whose training or adapter would be overwritten. @throws AppError IN_USE
 */
export async function requireFreeFolder(folder: string): Promise<void> {
  for (const name of RESULTS) {
    const found = await stat(join(folder, name)).catch(() => undefined)
    if (found === undefined) continue
    const [what, hint] =
      name === CHECKPOINT
        ? ['a training', 'Give --resume to go on with it, or another --out']
        : ['an adapter', 'Give another --out']
    throw inUse(`'${folder}' cannot be used: it holds ${what}`, { hint })
  }
}

export class TuningFolder implements AsyncDisposable {
  readonly path: string
  readonly #options: TuningFolderOptions
  readonly #release: Release
  /** Lines of the log that are not written yet. */
  #lines: string[] = []
  /** When a failed write of a file was last told, until one succeeds. */
  readonly #told = new Map<string, number>()
  /** Whether a line was written in part. */
  #isTorn = false

  /** @throws AppError IN_USE while another training writes it, DENIED, UNAVAILABLE */
  static async open(path: string, options: TuningFolderOptions): Promise<TuningFolder> {
    try {
      await mkdir(path, { recursive: true })
    } catch (cause) {
      throw folderError(`'${path}' cannot be made`, cause)
    }
    const release = await tryFileLock(join(path, '.lock'), { clock: options.clock })
    if (release === undefined) {
      throw inUse(`'${path}' cannot be used: another training writes it`, {
        hint: 'Give another --out'
      })
    }
    const folder = new TuningFolder(path, options, release)
    await folder.#sweep()
    return folder
  }

  private constructor(path: string, options: TuningFolderOptions, release: Release) {
    this.path = path
    this.#options = options
    this.#release = release
  }

  /** @throws AppError BAD_INPUT when settings differ, CORRUPT */
  checkpoint(settings: Checkpoint['settings']): Promise<Checkpoint | undefined> {
    return readCheckpoint(join(this.path, CHECKPOINT), settings)
  }

  /** What the log says of steps up to `step`; later ones are taken out, since they come again. */
  async logged(step: number): Promise<LossPoint[]> {
    const path = join(this.path, LOG)
    const text = step === 0 ? '' : await readFile(path, 'utf8').catch(() => '')
    const lines = text.split('\n').filter((line) => (parsed(line)?.step ?? Infinity) <= step)
    const points = lines.flatMap((line) => parsed(line) ?? [])
    await this.#surely(() => replaceFile(path, lines.map((line) => `${line}\n`).join('')), LOG)
    return points
  }

  /** Adds to the log; a line that cannot be written waits for the next one. */
  async log(step: LoggedStep): Promise<void> {
    this.#lines.push(`${JSON.stringify(step)}\n`)
    await this.#try(() => this.#writeLines(), LOG)
  }

  /** Whether the checkpoint could be kept. */
  async save(checkpoint: Checkpoint): Promise<boolean> {
    return this.#try(() => writeCheckpoint(join(this.path, CHECKPOINT), checkpoint), STATE)
  }

  /** Keeps a last checkpoint, what was learnt and the chart, however long that takes. */
  async finish(
    checkpoint: Checkpoint,
    { points, title, keep }: { points: readonly LossPoint[]; title: string; keep: Keep }
  ): Promise<void> {
    await this.#surely(() => writeCheckpoint(join(this.path, CHECKPOINT), checkpoint), STATE)
    await this.#surely(() => this.#writeLines(), LOG)
    await this.#surely(() => keep(this.path), 'What was learnt')
    if (points.length === 0) return
    await this.#surely(() => replaceFile(join(this.path, CHART), lossChart(points, title)), CHART)
  }

  /** Takes away what a training that was killed had written in part. */
  async #sweep(): Promise<void> {
    const names = await readdir(this.path).catch(() => [])
    for (const name of names) {
      if (PART.test(name)) await unlink(join(this.path, name)).catch(() => {})
    }
  }

  async #writeLines(): Promise<void> {
    const lines = this.#lines
    if (lines.length === 0) return
    const begin = this.#isTorn ? '\n' : ''
    this.#isTorn = true
    await appendFile(join(this.path, LOG), begin + lines.join(''))
    this.#isTorn = false
    this.#lines = this.#lines.slice(lines.length)
  }

  async #surely(write: () => Promise<void>, what: string): Promise<void> {
    // A user who does not want to wait ends the program.
    while (!(await this.#try(write, what))) await sleep(RETRY_MS, { clock: this.#options.clock })
  }

  async #try(write: () => Promise<void>, what: string): Promise<boolean> {
    try {
      await write()
      this.#told.delete(what)
      return true
    } catch (cause) {
      const now = this.#options.clock.now()
      if (now - (this.#told.get(what) ?? -Infinity) < TELL_MS) return false
      this.#told.set(what, now)
      const why = cause instanceof AppError ? (cause.cause ?? cause) : cause
      const error = fileError(`${what} cannot be kept in '${this.path}'`, why, {
        hint: 'Make room there: it is tried again, and nothing is lost meanwhile'
      })
      this.#options.onproblem?.(error)
      return false
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#release()
  }
}

/** Writes what was learnt into a folder. */
export type Keep = (folder: string) => Promise<void>

function parsed(line: string): LossPoint | undefined {
  try {
    const { step, loss, evalLoss } = JSON.parse(line) as LossPoint
    return Number.isSafeInteger(step) && Number.isFinite(loss)
      ? { step, loss, evalLoss }
      : undefined
  } catch {
    return undefined
  }
}
