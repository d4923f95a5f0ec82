import { expect, test } from 'bun:test'
import { inOrder } from '../../../src/cli/pipe/in-order.ts'

async function* numbers(count: number): AsyncGenerator<number> {
  for (let i = 0; i < count; i++) yield i
}

async function all<T>(results: AsyncIterable<T>): Promise<T[]> {
  const taken: T[] = []
  for await (const one of results) taken.push(one)
  return taken
}

test('results come in the order of the items, whichever is done first', async () => {
  const doors = Array.from({ length: 4 }, () => Promise.withResolvers<number>())
  const results = inOrder(numbers(4), { work: (i) => doors[i]!.promise, ahead: 4 })
  const taken = all(results)
  for (const i of [3, 1, 2, 0]) doors[i]!.resolve(i)
  expect(await taken).toEqual([0, 1, 2, 3])
})

test('no more items are begun than may stand ahead of what was taken', async () => {
  let begun = 0
  const results = inOrder(numbers(10), {
    work: async (i) => {
      begun++
      return i
    },
    ahead: 3
  })
  const seen: number[] = []
  for await (const one of results) seen.push(begun - one)
  expect(seen).toHaveLength(10)
  expect(Math.max(...seen)).toBeLessThanOrEqual(3)
})

test('a result is given while the next item is waited for', async () => {
  async function* slow(): AsyncGenerator<string> {
    yield 'a'
    await new Promise(() => {})
  }
  const results = inOrder(slow(), { work: async (one) => one, ahead: 2 })
  expect(await results.next()).toEqual({ done: false, value: 'a' })
})

test('the first failure ends it, behind the results before it', async () => {
  const work = async (i: number): Promise<number> => {
    if (i > 1) throw new Error(`no ${i}`)
    return i
  }
  const taken: number[] = []
  const run = async (): Promise<void> => {
    for await (const one of inOrder(numbers(5), { work, ahead: 5 })) taken.push(one)
  }
  await expect(run()).rejects.toThrow('no 2')
  expect(taken).toEqual([0, 1])
})
