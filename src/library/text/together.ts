// Several answers to one prompt at the same time: the first computes the prompt, the others begin
// with what it left at the servers. Knows no models.

/**
 * What `make` gives for each index. The first begins alone; the others when it has called
 * `onbegun`, or has ended.
 * @throws the first failure; the caller ends what goes on
 */
export async function together<T>(
  count: number,
  make: (index: number, onbegun: () => void) => Promise<T>
): Promise<T[]> {
  const begun = Promise.withResolvers<void>()
  const first = make(0, begun.resolve)
  await Promise.race([begun.promise, first])
  const others = Array.from({ length: count - 1 }, (_, i) => make(i + 1, () => {}))
  return Promise.all([first, ...others])
}

/** Hands out what comes; what the generator returns. */
export async function collect<T, R>(
  items: AsyncGenerator<T, R>,
  onitem: (item: T) => void
): Promise<R> {
  for (;;) {
    const step = await items.next()
    if (step.done) return step.value
    onitem(step.value)
  }
}
