// Questions of all of this user's chats, which the arrow keys bring back. A file in the data folder
// with one JSON text per line, readable only by its owner.
import { mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { toAppError } from '../../base/errors.ts'
import { replaceFile } from '../../base/files/replace-file.ts'
import type { Log } from '../../base/log.ts'

const MOST = 1000
/** Longer texts are pasted documents, which nobody looks for here. */
const MOST_LENGTH = 10_000

/** The texts of a file's lines, the oldest first; bad lines are skipped. */
export function parseHistory(text: string): string[] {
  return text
    .split('\n')
    .flatMap((line) => {
      try {
        const value: unknown = JSON.parse(line)
        return typeof value === 'string' && value.length <= MOST_LENGTH ? [value] : []
      } catch {
        return []
      }
    })
    .slice(-MOST)
}

/** Adds a text, which is then listed only once. */
export function addToHistory(history: readonly string[], text: string): string[] {
  if (text.trim() === '' || text.length > MOST_LENGTH) return [...history]
  return [...history.filter((one) => one !== text), text].slice(-MOST)
}

export class History {
  readonly #path: string
  readonly #log: Log
  #entries: string[] = []

  constructor(path: string, log: Log) {
    this.#path = path
    this.#log = log
  }

  get entries(): readonly string[] {
    return this.#entries
  }

  async load(): Promise<void> {
    this.#entries = parseHistory(await readFile(this.#path, 'utf8').catch(() => ''))
  }

  /** Saves a text. It is no error if the file cannot be written. */
  async add(text: string): Promise<void> {
    try {
      // Another chat may have added some meanwhile.
      const kept = await readFile(this.#path, 'utf8').catch(() => '')
      this.#entries = addToHistory(this.#entries, text)
      const all = addToHistory(parseHistory(kept), text)
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 })
      await replaceFile(this.#path, all.map((one) => `${JSON.stringify(one)}\n`).join(''))
    } catch (error) {
      this.#log.debug(`what was asked is not kept: ${toAppError(error).message}`)
    }
  }
}
