// How fast a number of threads together read memory that is in no cache: the floor of a decode
// step, which reads every weight once. Each thread lets the C library search for a byte that is not
// there.
import { join } from 'node:path'

export interface ReadOrder {
  /** Bytes that are read in turn. */
  readonly sizeBytes: number
}

/** Per thread; caches of today hold some tens of MiB. */
const SIZE_BYTES = 256 * 1024 * 1024

export class MemoryBandwidth implements Disposable {
  readonly #workers: readonly Worker[]

  private constructor(workers: readonly Worker[]) {
    this.#workers = workers
  }

  static async open(threads: number): Promise<MemoryBandwidth> {
    const script = join(import.meta.dir, 'read-memory.ts')
    const workers = Array.from({ length: threads }, () => new Worker(script))
    const order: ReadOrder = { sizeBytes: SIZE_BYTES }
    await Promise.all(workers.map((worker) => ask(worker, order)))
    return new MemoryBandwidth(workers)
  }

  /** Bytes a second, all threads reading their memory once at the same time. */
  async measure(): Promise<number> {
    const seconds = await Promise.all(this.#workers.map((worker) => ask(worker, 'read')))
    return (SIZE_BYTES * this.#workers.length) / Math.max(...seconds)
  }

  [Symbol.dispose](): void {
    for (const worker of this.#workers) worker.terminate()
  }
}

function ask(worker: Worker, order: ReadOrder | 'read'): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  worker.onmessage = ({ data }: MessageEvent<number>) => resolve(data)
  worker.onerror = ({ message }) => reject(new Error(message))
  worker.postMessage(order)
  return promise
}
