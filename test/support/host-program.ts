// A Host in a process of its own and what it says of itself, for tests and the soak script.
import { createInterface, type Interface } from 'node:readline'
import { Readable } from 'node:stream'
import { join } from 'node:path'
import type { HostState } from '../server/host-process.ts'

/** A question costs the host little, but not nothing. */
const POLL_MS = 20
const SCRIPT = join(import.meta.dir, '..', 'server', 'host-process.ts')

export class HostProgram implements AsyncDisposable {
  readonly key: Uint8Array
  readonly #child: Bun.Subprocess<'pipe', 'pipe', 'inherit'>
  readonly #lines: AsyncIterator<string>

  private constructor(
    key: Uint8Array,
    child: Bun.Subprocess<'pipe', 'pipe', 'inherit'>,
    lines: AsyncIterator<string>
  ) {
    this.key = key
    this.#child = child
    this.#lines = lines
  }

  static async start(port: number): Promise<HostProgram> {
    const child = Bun.spawn([process.execPath, SCRIPT, String(port)], {
      stdin: 'pipe',
      stdout: 'pipe',
      stderr: 'inherit'
    })
    const input: Interface = createInterface({ input: Readable.fromWeb(child.stdout as never) })
    const lines = input[Symbol.asyncIterator]()
    const { value: key = '' } = await lines.next()
    if (!/^[0-9a-f]{64}$/.test(key)) throw new Error(`The host did not start: ${key}`)
    return new HostProgram(new Uint8Array(Buffer.from(key, 'hex')), child, lines)
  }

  /** 'gc': after a full collection. @throws Error when the host is gone */
  async state(collect: 'gc' | '' = 'gc'): Promise<HostState> {
    this.#child.stdin.write(`${collect}\n`)
    await this.#child.stdin.flush()
    const { value, done } = await this.#lines.next()
    if (done) throw new Error(`The host ended with ${await this.#child.exited}`)
    return JSON.parse(value) as HostState
  }

  /** The state, collected, once `holds` says yes of it. @throws Error after `ms` */
  async until(holds: (state: HostState) => boolean, ms: number): Promise<HostState> {
    const end = performance.now() + ms
    for (;;) {
      const state = await this.state('')
      if (holds(state)) return this.state()
      if (performance.now() > end) throw new Error(`The host still holds ${JSON.stringify(state)}`)
      await Bun.sleep(POLL_MS)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#child.exited
  }
}
