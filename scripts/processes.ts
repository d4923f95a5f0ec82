// Starts programs, waits for what they print and leaves none of them running.
// For scripts/smoke.ts and tests of the command line; knows nothing of what the programs do.
import { readdirSync, readFileSync } from 'node:fs'

export interface ProgramOptions {
  cwd?: string
  /** The whole environment; nothing is inherited. Default: this process's own. */
  env?: Record<string, string | undefined>
  /** Given on stdin, which is then closed. Default: an empty stdin. */
  input?: string
}

export interface Ending {
  /** Exit code, or null when a signal ended it. */
  code: number | null
  stdout: string
  stderr: string
}

const running = new Set<Program>()

/** One program in a process group of its own, its output collected as it comes. */
export class Program implements AsyncDisposable {
  readonly name: string
  stdout = ''
  stderr = ''
  readonly #child: Bun.Subprocess<Uint8Array<ArrayBuffer>, 'pipe', 'pipe'>
  readonly #waiting = new Set<() => void>()
  readonly #ended: Promise<Ending>
  #over = false

  constructor(command: readonly string[], options: ProgramOptions = {}) {
    this.name = command.slice(0, 3).join(' ')
    this.#child = Bun.spawn([...command], {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: options.env ?? process.env,
      stdin: new TextEncoder().encode(options.input ?? ''),
      stdout: 'pipe',
      stderr: 'pipe',
      detached: true
    })
    running.add(this)
    this.#ended = this.#collect()
  }

  get pid(): number {
    return this.#child.pid
  }

  /** Whether it has ended and all its output is here. */
  get over(): boolean {
    return this.#over
  }

  /**
   * The first match in a stream's output so far or to come.
   * @throws Error when it ends or time is up
   */
  async match(stream: 'stdout' | 'stderr', pattern: RegExp, ms: number): Promise<RegExpExecArray> {
    const found = (): RegExpExecArray | null => pattern.exec(this[stream])
    await this.#until(() => found() !== null || this.#over, ms, `did not print ${pattern}`)
    return found() ?? this.#fail(`ended without printing ${pattern} on ${stream}`)
  }

  /** Waits for its end. @throws Error when time is up */
  async end(ms: number): Promise<Ending> {
    await this.#until(() => this.#over, ms, 'did not end')
    return this.#ended
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Kills the whole group and waits until it is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    killGroup(this.pid)
    await this.#ended
    await groupEnds(this.pid, 1000)
    running.delete(this)
  }

  async #collect(): Promise<Ending> {
    const read = async (stream: 'stdout' | 'stderr'): Promise<void> => {
      const decoder = new TextDecoder()
      for await (const chunk of this.#child[stream]) {
        this[stream] += decoder.decode(chunk, { stream: true })
        this.#wake()
      }
    }
    await Promise.all([read('stdout'), read('stderr'), this.#child.exited])
    this.#over = true
    this.#wake()
    return { code: this.#child.exitCode, stdout: this.stdout, stderr: this.stderr }
  }

  #wake(): void {
    for (const wake of this.#waiting) wake()
  }

  async #until(done: () => boolean, ms: number, what: string): Promise<void> {
    if (done()) return
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const wake = (): void => {
      if (done()) resolve(true)
    }
    const timer = setTimeout(() => resolve(false), ms)
    this.#waiting.add(wake)
    const came = await promise
    this.#waiting.delete(wake)
    clearTimeout(timer)
    if (!came) this.#fail(`${what} within ${ms / 1000} s`)
  }

  #fail(what: string): never {
    const tail = (text: string): string => text.trimEnd().split('\n').slice(-15).join('\n')
    throw new Error(
      `'${this.name}' ${what}\nstdout: ${tail(this.stdout)}\nstderr: ${tail(this.stderr)}`
    )
  }
}

/** Kills whatever still runs; for the signal handlers of a script. */
export function killPrograms(): void {
  for (const program of running) killGroup(program.pid)
}

/** A script that is told to stop leaves no program running. */
export function endOnSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      killPrograms()
      process.exit(130)
    })
  }
}

/**
 * Whether any process of the group lives. A zombie does not: the first process of a container may
 * never ask how its adopted children ended, and they stay in their group.
 */
export function groupLives(group: number): boolean {
  try {
    process.kill(-group, 0)
  } catch {
    return false
  }
  if (process.platform !== 'linux') return true
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      // `pid (name) state parent group ...`, where the name may hold anything.
      const text = readFileSync(`/proc/${name}/stat`, 'utf8')
      const [state, , itsGroup] = text.slice(text.lastIndexOf(')') + 2).split(' ')
      if (Number(itsGroup) === group && state !== 'Z' && state !== 'X') return true
    } catch {
      // It ended while it was looked at.
    }
  }
  return false
}

/** Whether the group's last process ends within `ms`. */
export async function groupEnds(group: number, ms: number): Promise<boolean> {
  const end = performance.now() + ms
  while (groupLives(group)) {
    if (performance.now() > end) return false
    await Bun.sleep(20)
  }
  return true
}

export function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // The group has no process left.
  }
}
