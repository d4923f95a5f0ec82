// One answer on stdout, and nothing else.
import { toAppError } from '../../base/errors.ts'
import { terminalText } from '../../base/terminal-text.ts'
import type { Context } from '../context.ts'
import { EXIT } from '../exit.ts'
import { createOutput, type Output } from '../output.ts'
import type { Answer, Write } from './reporter.ts'

/**
 * Returns the exit code.
 * @param whole what to write of the whole answer at its end. Default: it is written as it comes
 */
export async function answerOnce(
  begin: (signal: AbortSignal) => Answer,
  tell: (answer: Answer, write: Write) => Promise<void>,
  context: Context,
  whole?: (text: string) => string
): Promise<number> {
  const output = createOutput()
  const signal = AbortSignal.any([context.signal, output.gone])
  const shown = process.stdout.isTTY ? terminalText : (text: string) => text
  try {
    let text = ''
    await tell(begin(signal), async (piece) => {
      if (whole) text += piece
      else await output.write(shown(piece))
    })
    if (whole) await output.write(shown(whole(text)))
    else if (process.stdout.isTTY) await output.write('\n')
    await output.end()
    return output.gone.aborted ? leftBehind(output) : EXIT.ok
  } catch (error) {
    if (output.gone.aborted) return leftBehind(output)
    throw toAppError(error)
  }
}

/** A full disk is an error; a reader that has read enough is not. */
function leftBehind(output: Output): number {
  if (output.failure) throw output.failure
  return EXIT.brokenPipe
}
