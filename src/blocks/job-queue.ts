// Who computes next: lanes take turns, one chunk each, and jobs of one lane follow each other.
// A pure policy over records; worker.ts runs what it picks.

export interface Job {
  /** Runs one chunk; true when that was the last. */
  advance(): boolean
  /** Told when the lane is dropped before the job was done. */
  drop(): void
}

export class JobQueue {
  /** Lanes with jobs, in the order of their next turn. */
  readonly #lanes = new Map<string, Job[]>()

  get idle(): boolean {
    return this.#lanes.size === 0
  }

  push(lane: string, job: Job): void {
    const jobs = this.#lanes.get(lane)
    if (jobs) jobs.push(job)
    else this.#lanes.set(lane, [job])
  }

  /** One chunk of the lane whose turn it is. A job that throws is over; it reports for itself. */
  runOne(): void {
    const [next] = this.#lanes
    if (next === undefined) return
    const [lane, jobs] = next
    const [job] = jobs
    this.#lanes.delete(lane)
    let done = true
    try {
      done = job?.advance() ?? true
    } finally {
      if (done) jobs.shift()
      if (jobs.length > 0) this.#lanes.set(lane, jobs)
    }
  }

  /** Forgets a lane and tells its jobs. */
  drop(lane: string): void {
    const jobs = this.#lanes.get(lane) ?? []
    this.#lanes.delete(lane)
    for (const job of jobs) job.drop()
  }
}
