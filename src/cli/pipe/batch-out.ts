// The file that a batch writes its lines to. What is in it already need not be asked again.
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import { badInput } from '../../base/errors.ts'
import { fileError } from '../../base/files/file-error.ts'

export interface BatchOut extends Disposable {
  /** Number of the last line of the input that was answered. */
  readonly done: number
  write(text: string): void
}

/**
 * Opens it, or makes it; a last line that was cut in the middle is taken away.
 * @throws AppError BAD_INPUT for a file of something else, or as it cannot be written
 */
export function openBatchOut(path: string): BatchOut {
  let file: number
  try {
    file = openSync(path, 'a+', 0o666)
  } catch (error) {
    throw fileError(`'${path}' cannot be written`, error)
  }
  try {
    const text = fstatSync(file).size === 0 ? '' : readFileSync(file, 'utf8')
    const whole = text.slice(0, text.lastIndexOf('\n') + 1)
    const done = lastLine(path, whole)
    if (whole.length < text.length) ftruncateSync(file, Buffer.byteLength(whole))
    return {
      done,
      write(line) {
        try {
          writeSync(file, line)
        } catch (error) {
          throw fileError(`'${path}' cannot be written`, error)
        }
      },
      [Symbol.dispose]: () => closeSync(file)
    }
  } catch (error) {
    closeSync(file)
    throw fileError(`'${path}' cannot be gone on with`, error)
  }
}

function lastLine(path: string, text: string): number {
  let last = 0
  for (const one of text.split('\n')) {
    if (one === '') continue
    const number = numberOf(one)
    if (number === undefined || number <= last) {
      throw badInput(`'${path}' is not written over: it holds something else than such a batch`, {
        hint: 'Name a new file behind --out'
      })
    }
    last = number
  }
  return last
}

function numberOf(line: string): number | undefined {
  try {
    const { line: number } = JSON.parse(line) as { line?: unknown }
    return Number.isSafeInteger(number) ? Number(number) : undefined
  } catch {
    return undefined
  }
}
