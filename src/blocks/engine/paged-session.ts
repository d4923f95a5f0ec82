// A session's keys and values as a list of pages. Forks share pages; a shared page is copied before
// it is written to. Knows no rows.
import type { BlockSpan } from '../../base/block-span.ts'
import type { Additions } from '../../kernels/additions.ts'
import type { AdapterSet } from '../adapters/span-adapters.ts'
import type { KernelProgram, SpanSession } from './loaded-span.ts'
import type { Page, PagePool } from './page-pool.ts'

export class PagedSession implements SpanSession {
  readonly range: BlockSpan
  readonly #program: KernelProgram
  readonly #pool: PagePool
  readonly #pages: Page[] = []
  #addresses: BigUint64Array = new BigUint64Array(8)
  readonly #adapters: AdapterSet | undefined
  #length = 0

  /** @param adapters released with the session */
  constructor(program: KernelProgram, pool: PagePool, range: BlockSpan, adapters?: AdapterSet) {
    this.range = range
    this.#program = program
    this.#pool = pool
    this.#adapters = adapters
  }

  get length(): number {
    return this.#length
  }

  /** What its adapters add. */
  get additions(): Additions | undefined {
    return this.#adapters?.additions
  }

  /** Addresses of all pages, in order. */
  get addresses(): BigUint64Array {
    return this.#addresses.subarray(0, this.#pages.length)
  }

  ensure(start: number, end: number): void {
    this.cut(start)
    const { pageTokens } = this.#program
    this.#own(Math.floor(start / pageTokens), start % pageTokens)
    const needed = Math.ceil(end / pageTokens)
    const sizeBytes = this.#program.pageBytes(this.range)
    const before = this.#pages.length
    try {
      while (this.#pages.length < needed) this.#add(this.#pool.take(sizeBytes))
    } catch (error) {
      this.#shrink(before)
      throw error
    }
  }

  /** Rows were written after the last position. */
  advance(rows: number): void {
    this.#length += rows
  }

  cut(length: number): void {
    this.#length = Math.min(this.#length, length)
    this.#shrink(Math.ceil(this.#length / this.#program.pageTokens))
  }

  fork(length: number): PagedSession {
    this.#adapters?.share()
    const forked = new PagedSession(this.#program, this.#pool, this.range, this.#adapters)
    for (const page of this.#pages.slice(0, Math.ceil(length / this.#program.pageTokens))) {
      page.holders++
      forked.#add(page)
    }
    forked.#length = length
    return forked
  }

  /**
   * The page is about to be written to: if other sessions hold it, copies its first `tokens`
   * positions to a new page.
   */
  #own(index: number, tokens: number): void {
    const shared = this.#pages[index]
    if (shared === undefined || shared.holders === 1) return
    const own = this.#pool.take(shared.sizeBytes)
    this.#program.copyPage(this.range, shared.address, own.address, tokens)
    this.#pages[index] = own
    this.#addresses[index] = own.address
    this.#pool.release(shared)
  }

  #add(page: Page): void {
    const index = this.#pages.length
    if (index === this.#addresses.length) {
      const larger = new BigUint64Array(2 * index)
      larger.set(this.#addresses)
      this.#addresses = larger
    }
    this.#pages.push(page)
    this.#addresses[index] = page.address
  }

  #shrink(pages: number): void {
    for (const page of this.#pages.splice(pages)) this.#pool.release(page)
  }

  [Symbol.dispose](): void {
    this.#length = 0
    this.#shrink(0)
    this.#adapters?.[Symbol.dispose]()
  }
}
