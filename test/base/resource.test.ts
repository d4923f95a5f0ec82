// The lifecycle that everything with ready() and close() shares.
import { expect, test } from 'bun:test'
import { Resource } from '../../src/base/resource.ts'

class Probe extends Resource {
  readonly calls: string[] = []
  #gate: Promise<void>

  constructor(gate: Promise<void> = Promise.resolve()) {
    super()
    this.#gate = gate
  }

  protected override async _open(): Promise<void> {
    this.calls.push('open')
    await this.#gate
    this.calls.push('opened')
  }

  protected override async _close(): Promise<void> {
    this.calls.push('close')
    await Promise.resolve()
  }
}

test('ready() opens once and returns the first call’s promise', async () => {
  const probe = new Probe()
  const first = probe.ready()
  expect(probe.ready()).toBe(first)
  expect(probe.opened).toBe(false)
  await first
  expect([probe.opened, probe.closed]).toEqual([true, false])
  expect(probe.calls).toEqual(['open', 'opened'])
})

test('close() closes once and returns the first call’s promise', async () => {
  const probe = new Probe()
  await probe.ready()
  const first = probe.close()
  expect(probe.close()).toBe(first)
  expect([probe.closing, probe.closed]).toEqual([true, false])
  await first
  expect(probe.closed).toBe(true)
  expect(probe.calls).toEqual(['open', 'opened', 'close'])
})

test('close() during ready() waits for the opening and closes what it made', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const probe = new Probe(promise)
  const opening = probe.ready()
  const closing = probe.close()
  expect(probe.calls).toEqual(['open'])
  resolve()
  await Promise.all([opening, closing])
  expect(probe.calls).toEqual(['open', 'opened', 'close'])
})

test('close() after a failed ready() still cleans up, and the failure is ready()’s to report', async () => {
  const probe = new Probe(Promise.reject(new Error('No port')))
  expect(await probe.ready().catch((error: unknown) => String(error))).toBe('Error: No port')
  expect(probe.opened).toBe(false)
  await probe.close()
  expect(probe.calls).toEqual(['open', 'close'])
})

test('close() without ready() closes and opens nothing', async () => {
  const probe = new Probe()
  await probe.close()
  expect(probe.calls).toEqual(['close'])
})

test('`await using` closes at the end of the block', async () => {
  let probe: Probe
  {
    await using inner = new Probe()
    probe = inner
    await inner.ready()
  }
  expect(probe.closed).toBe(true)
})
