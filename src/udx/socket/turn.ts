// One turn of the event loop: cores with work and sockets with queued packets are served once,
// together, in a single setImmediate. It also keeps the timers of cores. This is the real Link; of
// cores and sockets it knows only what it calls.

import { type Traffic, createTraffic } from '../stream/core.ts'
import type { Link, LinkedCore } from '../stream/link.ts'
import { rethrowLater } from '../rethrow.ts'
import { SlotPool } from '../stream/slots.ts'

/** A socket with queued packets. */
export interface Flushable {
  flush(): void
}

interface Alarm {
  deadline: number
  /** When the timer that is set goes off; it may be earlier than the deadline. */
  firesAt: number
  timer: ReturnType<typeof setTimeout> | null
}

/** The scheduler of one UDX instance. */
export class Turn implements Link {
  readonly pool: SlotPool = new SlotPool()
  /** Traffic of all sockets together. */
  readonly traffic: Traffic = createTraffic()
  #cores: LinkedCore[] = []
  #sockets: Flushable[] = []
  #scheduled = false
  #alarms = new Map<LinkedCore, Alarm>()

  now(): number {
    return performance.now()
  }

  wake(core: LinkedCore): void {
    if (core.awake) return
    core.awake = true
    this.#cores.push(core)
    this.#schedule()
  }

  /** Requests `socket.flush()` at the end of this turn; once per batch is enough. */
  wakeSocket(socket: Flushable): void {
    this.#sockets.push(socket)
    this.#schedule()
  }

  arm(core: LinkedCore, deadline: number): void {
    let alarm = this.#alarms.get(core)
    if (alarm === undefined) {
      alarm = { deadline, firesAt: Infinity, timer: null }
      this.#alarms.set(core, alarm)
    }
    alarm.deadline = deadline
    // A timer that fires early is set again for the rest: most deadlines only move later.
    if (alarm.firesAt <= deadline) return
    if (alarm.timer !== null) clearTimeout(alarm.timer)
    this.#set(core, alarm)
  }

  disarm(core: LinkedCore): void {
    const alarm = this.#alarms.get(core)
    if (alarm === undefined) return
    if (core.closed) {
      if (alarm.timer !== null) clearTimeout(alarm.timer)
      this.#alarms.delete(core)
    } else alarm.deadline = Infinity
  }

  #set(core: LinkedCore, alarm: Alarm): void {
    const delay = Math.max(1, Math.ceil(alarm.deadline - this.now()))
    alarm.firesAt = alarm.deadline
    // An open socket keeps the process alive; a timer alone must not.
    alarm.timer = setTimeout(() => this.#fire(core, alarm), delay)
    alarm.timer.unref()
  }

  #fire(core: LinkedCore, alarm: Alarm): void {
    alarm.timer = null
    alarm.firesAt = Infinity
    if (alarm.deadline === Infinity) return
    if (this.now() < alarm.deadline) this.#set(core, alarm)
    else {
      alarm.deadline = Infinity
      core.ontimer()
    }
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#run)
  }

  #run = (): void => {
    this.#scheduled = false
    const cores = this.#cores
    this.#cores = []
    for (const core of cores) {
      core.awake = false
      guard(() => core.flush())
    }
    const sockets = this.#sockets
    this.#sockets = []
    for (const socket of sockets) guard(() => socket.flush())
  }
}

/** An error in one stream must not keep the others of the turn from being served. */
function guard(serve: () => void): void {
  try {
    serve()
  } catch (error) {
    rethrowLater(error)
  }
}
