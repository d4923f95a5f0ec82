// sleep() and deadline() over a clock that the test drives.
import { describe, expect, test } from 'bun:test'
import { deadline, sleep, systemClock } from '../../src/base/clock.ts'
import { AppError } from '../../src/base/errors.ts'
import { FakeClock, settle } from '../support/fakes/fake-clock.ts'

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'none',
    (error: unknown) => (error instanceof AppError ? error.code : String(error))
  )
}

describe('sleep()', () => {
  test('waits as long as it was told', async () => {
    const clock = new FakeClock()
    let woke = false
    void sleep(100, { clock }).then(() => (woke = true))
    await clock.advance(99)
    expect(woke).toBe(false)
    await clock.advance(1)
    await settle()
    expect(woke).toBe(true)
  })

  test('rejects with CANCELLED when its signal fires, and leaves no timer', async () => {
    const clock = new FakeClock()
    const abort = new AbortController()
    const code = codeOf(sleep(100, { clock, signal: abort.signal }))
    abort.abort()
    expect(await code).toBe('CANCELLED')
    expect(clock.pending).toBe(0)
  })

  test('does not begin under a signal that has fired', async () => {
    const clock = new FakeClock()
    expect(await codeOf(sleep(100, { clock, signal: AbortSignal.abort() }))).toBe('CANCELLED')
    expect(clock.pending).toBe(0)
  })
})

describe('deadline()', () => {
  test('gives what the promise gives, and leaves no timer', async () => {
    const clock = new FakeClock()
    expect(await deadline(Promise.resolve(7), 100, { clock })).toBe(7)
    expect(clock.pending).toBe(0)
  })

  test('passes a failure on as it is', async () => {
    const clock = new FakeClock()
    const failure = new Error('x')
    const promise = deadline(Promise.reject(failure), 100, { clock })
    expect(await promise.catch((error: unknown) => error)).toBe(failure)
    expect(clock.pending).toBe(0)
  })

  test('rejects with TIMEOUT that names what was waited for', async () => {
    const clock = new FakeClock()
    const promise = deadline(new Promise(() => {}), 100, { clock, what: 'The step' })
    const error = promise.catch((thrown: unknown) => thrown)
    await clock.advance(100)
    expect(await error).toMatchObject({
      code: 'TIMEOUT',
      message: 'The step did not finish: 100 ms have passed',
      retryable: true
    })
  })

  test.each(['before', 'during'])(
    'rejects with CANCELLED for a signal that fires %s',
    async (when) => {
      const clock = new FakeClock()
      const abort = new AbortController()
      if (when === 'before') abort.abort()
      const code = codeOf(deadline(new Promise(() => {}), 100, { clock, signal: abort.signal }))
      abort.abort()
      expect(await code).toBe('CANCELLED')
      expect(clock.pending).toBe(0)
    }
  )

  test('a late result after the timeout changes nothing', async () => {
    const clock = new FakeClock()
    const { promise, reject } = Promise.withResolvers<number>()
    const code = codeOf(deadline(promise, 10, { clock }))
    await clock.advance(10)
    reject(new Error('late'))
    expect(await code).toBe('TIMEOUT')
  })
})

test('systemClock reads a monotonic and a wall time', () => {
  const before = Date.now()
  const [now, wall] = [systemClock.now(), systemClock.wall()]
  expect(systemClock.now()).toBeGreaterThanOrEqual(now)
  expect(wall).toBeGreaterThanOrEqual(before)
  expect(wall).toBeLessThanOrEqual(Date.now())
})

test('systemClock calls back once, and not when it was stopped', async () => {
  const fired: string[] = []
  const stop = systemClock.after(0, () => fired.push('stopped'))
  stop()
  await new Promise<void>((resolve) => {
    systemClock.after(1, () => {
      fired.push('fired')
      resolve()
    })
  })
  expect(fired).toEqual(['fired'])
})
