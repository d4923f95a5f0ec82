// Words before a command that limit it to a share of a core, so that several machines can be played
// on one: a control group of Linux, for which one must be root.
import { existsSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = '/sys/fs/cgroup'
const FIRST = existsSync(join(ROOT, 'cpu')) ? join(ROOT, 'cpu') : ROOT
/** Of which a share is given at a time, microseconds. */
const PERIOD = 20_000
const SCRIPT = `
  group=${FIRST}/petals-$$; mkdir "$group"
  if [ -e "$group/cpu.max" ]; then echo "$1 ${PERIOD}" > "$group/cpu.max"
  else echo ${PERIOD} > "$group/cpu.cfs_period_us"; echo "$1" > "$group/cpu.cfs_quota_us"; fi
  echo $$ > "$group/cgroup.procs"; shift; exec "$@"`

/** @param share of a core, e.g. 0.5; 1 and more: no limit */
export function limitedTo(share: number): readonly string[] {
  if (share >= 1) return []
  return ['sh', '-e', '-c', SCRIPT, 'sh', String(Math.round(share * PERIOD))]
}

/** Takes away what limitedTo() made for a program that has ended. */
export function forgetLimit(pid: number): void {
  const group = join(FIRST, `petals-${pid}`)
  try {
    rmdirSync(group)
  } catch {
    // There was no limit, or the system has not noticed yet that nobody is in it.
  }
}
