// Who computes next: lanes take turns, and jobs of one lane follow each other. How many run at once is
// run-policy.ts's matter; step-pump.ts runs what is picked.
import { shareRun, type RunLimits, type Waiting } from './run-policy.ts'

export interface QueuedJob extends Waiting {
  /** Told when the lane is dropped before the job was done. */
  drop(): void
}

export interface Picked<J> {
  readonly lane: string
  readonly job: J
  /** How many of its rows to run. */
  readonly rows: number
}

export class JobQueue<J extends QueuedJob> {
  /** Lanes with jobs, in the order of their next turn. */
  readonly #lanes = new Map<string, J[]>()

  get idle(): boolean {
    return this.#lanes.size === 0
  }

  has(lane: string): boolean {
    return this.#lanes.has(lane)
  }

  /** The job of each lane whose turn it is next. */
  get heads(): J[] {
    return [...this.#lanes.values()].flatMap(([job]) => job ?? [])
  }

  push(lane: string, job: J): void {
    const jobs = this.#lanes.get(lane)
    if (jobs) jobs.push(job)
    else this.#lanes.set(lane, [job])
  }

  /** The jobs of the next run; their lanes' next turn comes after all others'. */
  pick(limits: RunLimits): Picked<J>[] {
    const heads = [...this.#lanes].flatMap(([lane, [job]]) => (job ? [{ lane, job }] : []))
    const shares = shareRun(
      heads.map(({ job }) => job),
      limits
    )
    const picked = heads.flatMap(({ lane, job }, i) => {
      const rows = shares[i] ?? 0
      return rows > 0 ? [{ lane, job, rows }] : []
    })
    for (const { lane } of picked) {
      const jobs = this.#lanes.get(lane) ?? []
      this.#lanes.delete(lane)
      this.#lanes.set(lane, jobs)
    }
    return picked
  }

  /** Takes a job out, wherever it waits; false when it is not here. */
  remove(which: (job: J) => boolean): J | undefined {
    for (const [lane, jobs] of this.#lanes) {
      const at = jobs.findIndex(which)
      if (at === -1) continue
      const [job] = jobs.splice(at, 1)
      if (jobs.length === 0) this.#lanes.delete(lane)
      return job
    }
    return undefined
  }

  /** Forgets a lane and tells its jobs. */
  drop(lane: string): void {
    const jobs = this.#lanes.get(lane) ?? []
    this.#lanes.delete(lane)
    for (const job of jobs) job.drop()
  }
}
