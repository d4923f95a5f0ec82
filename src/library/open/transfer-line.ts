// One line about a transfer: a bar, how much of how much, how fast, how long still.
import { formatBytes } from '../../base/bytes.ts'
import { type Clock, systemClock } from '../../base/clock.ts'
import type { Progress } from '../../base/progress.ts'

const BAR = 20
/** Speeds of less than this say nothing. */
const MIN_MS = 1000

export interface Transfer {
  doneBytes: number
  totalBytes: number
  /** Of what is done. */
  peerBytes?: number
}

/**
 * What shows transfers of `what` on a progress line. A smaller amount done than before begins anew.
 */
export function transferLine(
  progress: Progress,
  what: string,
  clock: Clock = systemClock
): (transfer: Transfer) => void {
  let start: { atMs: number; doneBytes: number } | undefined
  let last = 0
  return ({ doneBytes, totalBytes, peerBytes = 0 }) => {
    if (!start || doneBytes < last) {
      start = { atMs: clock.now(), doneBytes }
      progress.stage(`fetching ${what}, ${formatBytes(totalBytes)}`)
    }
    last = doneBytes
    const ms = clock.now() - start.atMs
    const bytesPerSecond = ms < MIN_MS ? undefined : ((doneBytes - start.doneBytes) * 1000) / ms
    progress.update(transferText(what, { doneBytes, totalBytes, peerBytes }, bytesPerSecond))
  }
}

export function transferText(what: string, transfer: Transfer, bytesPerSecond?: number): string {
  const { doneBytes, totalBytes, peerBytes = 0 } = transfer
  const share = totalBytes > 0 ? Math.min(1, doneBytes / totalBytes) : 1
  const filled = Math.floor(share * BAR)
  const bar = `${'#'.repeat(filled)}${'-'.repeat(BAR - filled)}`
  const fromPeers =
    peerBytes > 0 ? ` (${Math.round((100 * peerBytes) / doneBytes)} % from peers)` : ''
  const amount = `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}${fromPeers}`
  if (!bytesPerSecond) return `${what}: [${bar}] ${amount}`
  const left = time((totalBytes - doneBytes) / bytesPerSecond)
  return `${what}: [${bar}] ${amount}, ${formatBytes(Math.round(bytesPerSecond))}/s, ${left} left`
}

function time(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`
  return `${(seconds / 3600).toFixed(1)} h`
}
