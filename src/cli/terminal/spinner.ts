// A line that shows that something is going on, and for how long; removed at the end.
import { type Clock, systemClock } from '../../base/clock.ts'
import { fitWidth } from '../../base/progress.ts'
import { terminalText } from '../../base/terminal-text.ts'

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']
const FRAME_MS = 100
/** Shorter waits show nothing. */
const PATIENCE_MS = 200

export interface SpinnerOptions {
  write: (text: string) => void
  columns: () => number
  clock?: Clock
}

export interface Spinner {
  stop(): void
}

/** @param words what is going on, given the seconds that have passed; called for each frame */
export function startSpinner(words: (seconds: number) => string, options: SpinnerOptions): Spinner {
  const { write, columns, clock = systemClock } = options
  const began = clock.now()
  let frame = 0
  let isShown = false
  const show = (): void => {
    const seconds = Math.floor((clock.now() - began) / 1000)
    const text = `${FRAMES[frame++ % FRAMES.length] ?? ''} ${terminalText(words(seconds))}`
    write(`\r\x1b[2K${fitWidth(text, columns() - 1)}`)
    isShown = true
    stopTimer = clock.after(FRAME_MS, show, true)
  }
  let stopTimer = clock.after(PATIENCE_MS, show, true)
  return {
    stop() {
      stopTimer()
      if (isShown) write('\r\x1b[2K')
      isShown = false
    }
  }
}
