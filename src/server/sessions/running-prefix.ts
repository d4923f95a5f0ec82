// Which open session holds most of what a new one begins with. Pure; prefix-keeper.ts copies it.
import type { BlockSpan } from '../../base/block-span.ts'
import { toHex } from '../../base/bytes.ts'
import type { PrefixMark } from '../../wire/types.ts'
import type { NamedPrefix } from './session-marks.ts'

export interface RunningPrefix extends BlockSpan {
  /** Number of the engine's session. */
  readonly session: number
  readonly marks: readonly NamedPrefix[]
}

/** What of a session a new one may begin with. */
export interface RunningHit extends Pick<RunningPrefix, 'session' | 'marks'> {
  readonly length: number
  /** Matched by a name that is shared with everybody. */
  readonly shared: boolean
}

/** The longest of `marks` that an open session has over these blocks. */
export function longestRunning(
  marks: readonly PrefixMark[],
  options: { range: BlockSpan; mostTokens: number; running: readonly RunningPrefix[] }
): RunningHit | undefined {
  const { range, mostTokens, running } = options
  const asked = new Map(marks.map(({ label, length }) => [toHex(label), length]))
  let best: RunningHit | undefined
  for (const { session, start, end, marks: own } of running) {
    if (start !== range.start || end !== range.end) continue
    for (const { label, length, shared } of own) {
      if (asked.get(label) !== length || length > mostTokens) continue
      if (length > (best?.length ?? 0)) best = { session, marks: own, length, shared }
    }
  }
  return best
}
