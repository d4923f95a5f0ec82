// Work on several things under way together, with results in their order. Knows nothing of
// training.

export interface InOrderOptions {
  /** Under way together. */
  readonly parallel: number
  readonly signal: AbortSignal
}

/** Results in the order of the items; one that fails ends the others. @throws what `work` throws */
export async function* inOrder<T, R>(
  items: readonly T[],
  work: (item: T, signal: AbortSignal) => Promise<R>,
  { parallel, signal }: InOrderOptions
): AsyncGenerator<R> {
  const stop = new AbortController()
  const all = AbortSignal.any([signal, stop.signal])
  const waiting = items.values()
  const underWay: Promise<R>[] = []
  const begin = (): void => {
    const next = waiting.next()
    if (next.done) return
    const result = work(next.value, all)
    // Waited for in its turn.
    result.catch(() => {})
    underWay.push(result)
  }
  try {
    for (let i = 0; i < parallel; i++) begin()
    for (let next = underWay.shift(); next !== undefined; next = underWay.shift()) {
      const result = await next
      begin()
      yield result
    }
  } finally {
    stop.abort()
    await Promise.allSettled(underWay)
  }
}
