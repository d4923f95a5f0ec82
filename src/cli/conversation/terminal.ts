// The terminal of a conversation: input comes from stdin, answers go to stdout, and everything else
// to stderr, or to the terminal itself if stderr is redirected.
import { openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Context } from '../context.ts'
import { History } from '../terminal/history.ts'
import type { LineSource } from '../terminal/line-source.ts'
import { PlainLines } from '../terminal/plain-lines.ts'
import { takeStderr } from '../terminal/stderr.ts'
import { hasCursor, styleFor } from '../terminal/style.ts'
import { TerminalLines, type TerminalOutput } from '../terminal/terminal-lines.ts'
import type { ConverseOptions, TextOutput } from './converse.ts'
import { completeSlash } from './slash.ts'

export interface Terminal extends AsyncDisposable {
  /** What converse() needs of it. */
  readonly parts: Omit<ConverseOptions, 'talk'>
  /** Keeps lines to be shown after an answer. */
  note(text: string): void
}

export async function openTerminal(context: Context): Promise<Terminal> {
  const { env, paths, log, signal } = context
  const { stdin, stdout } = process
  const output = screenOutput()
  const canMove = hasCursor(output.isTTY, env)
  const history = new History(join(paths.data, 'chat-history'), log)
  await history.load()
  const notes: string[] = []
  const keep = (text: string): void =>
    void notes.push(...text.split('\n').filter((line) => line !== ''))
  const onexit = (): void => lines.close()
  const lines: LineSource = canMove
    ? new TerminalLines({
        input: stdin,
        output,
        history: () => history.entries,
        complete: completeSlash,
        onresize(listener) {
          process.on('SIGWINCH', listener)
          return () => process.off('SIGWINCH', listener)
        },
        suspend: () => process.kill(process.pid, 'SIGTSTP')
      })
    : new PlainLines({ input: stdin, write: (text) => output.write(text) })
  // A line of the log must not stand in what is typed, nor in an answer.
  const giveBack = takeStderr((text) => {
    if (!lines.above(text)) keep(text)
  })
  // Also when a second signal ends the process at once.
  process.on('exit', onexit)
  const screen: TextOutput = {
    write: (text) => output.write(text),
    hasCursor: canMove,
    columns: () => output.columns || 80
  }
  const answers: TextOutput = {
    write: (text) => stdout.write(text),
    hasCursor: hasCursor(stdout.isTTY, env),
    columns: () => stdout.columns || 80
  }
  const parts = {
    lines,
    screen,
    answers,
    style: styleFor(output.isTTY, env),
    signal,
    notes: () => notes.splice(0),
    onquestion: (question: string) => history.add(question)
  }
  return {
    parts,
    note: keep,
    async [Symbol.asyncDispose]() {
      process.off('exit', onexit)
      lines.close()
      giveBack()
      for (const note of notes.splice(0)) output.write(`${note}\n`)
    }
  }
}

function screenOutput(): TerminalOutput & { isTTY: boolean } {
  const { stderr, stdout } = process
  if (stderr.isTTY) return stderr
  if (stdout.isTTY) return stdout
  const terminal = openSync('/dev/tty', 'w')
  return { isTTY: true, write: (text) => writeSync(terminal, text) }
}
