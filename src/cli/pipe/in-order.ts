// Work on items that come one after another: several at once, results in the items' order.

export interface InOrderOptions<I, O> {
  work: (item: I) => Promise<O>
  /** Most items that are begun and whose results are not taken. */
  ahead: number
}

/**
 * Results in order, each as soon as it and all before it are there; items are taken while there is
 * room. Ends with the first failure, or when nobody takes results any more.
 */
export async function* inOrder<I, O>(
  items: AsyncIterable<I>,
  { work, ahead }: InOrderOptions<I, O>
): AsyncGenerator<O, void> {
  const iterator = items[Symbol.asyncIterator]()
  const begun: Promise<O>[] = []
  let next: Promise<IteratorResult<I>> | undefined
  let hasEnded = false
  try {
    for (;;) {
      if (!hasEnded && begun.length < ahead) next ??= iterator.next()
      const [head] = begun
      if (!head && !next) return
      // A slow input must not hold back results, nor a slow result the input.
      const first = await Promise.race([
        ...(head ? [head.then((result) => ({ result }))] : []),
        ...(next ? [next.then((item) => ({ item }))] : [])
      ])
      if ('result' in first) {
        begun.shift()
        yield first.result
        continue
      }
      next = undefined
      if (first.item.done === true) {
        hasEnded = true
        continue
      }
      const result = work(first.item.value)
      // Its failure is told when its turn has come.
      result.catch(() => {})
      begun.push(result)
    }
  } finally {
    next?.catch(() => {})
    void iterator.return?.()
  }
}
