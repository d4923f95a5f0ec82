// AppError: codes to decide on, hints to act on, and what becomes of foreign errors.
import { Glob } from 'bun'
import { expect, test } from 'bun:test'
import { join } from 'node:path'
import * as errors from '../../src/base/errors.ts'
import { AppError, badInput, busy, toAppError } from '../../src/base/errors.ts'

test('every factory makes an AppError with a code of its own', () => {
  const codes = Object.entries(errors)
    .filter(([name]) => name !== 'AppError' && name !== 'toAppError')
    .map(([, make]) => (make as (message: string) => AppError)('x').code)
  expect(codes).toHaveLength(18)
  expect(new Set(codes).size).toBe(18)
})

test('an AppError carries message, hint and cause', () => {
  const cause = new Error('below')
  const error = badInput("Port cannot be used: '99999'", { hint: 'Use 1 to 65535.', cause })
  expect(error).toBeInstanceOf(Error)
  expect(error).toMatchObject({
    name: 'AppError',
    code: 'BAD_INPUT',
    message: "Port cannot be used: '99999'",
    hint: 'Use 1 to 65535.',
    cause
  })
})

test('an AppError without a cause has none, not an undefined one', () => {
  expect('cause' in badInput('x')).toBe(false)
})

test('whether to try again follows from the code unless it is said', () => {
  const retryable = (code: errors.ErrorCode): boolean => new AppError(code, 'x').retryable
  expect((['BUSY', 'TIMEOUT', 'DISCONNECTED', 'COMPUTE'] as const).every(retryable)).toBe(true)
  expect((['BAD_INPUT', 'CORRUPT', 'DENIED', 'INTERNAL'] as const).some(retryable)).toBe(false)
  expect(busy('x', { retryable: false, retryAfterMs: 5 })).toMatchObject({
    retryable: false,
    retryAfterMs: 5
  })
})

test('toAppError() passes an AppError through and wraps anything else as INTERNAL', () => {
  const own = busy('x')
  const foreign = new TypeError('y')
  expect(toAppError(own)).toBe(own)
  expect(toAppError(foreign)).toMatchObject({ code: 'INTERNAL', message: 'y', cause: foreign })
  expect(toAppError('z')).toMatchObject({
    code: 'INTERNAL',
    message: "Something that is no error was thrown: 'z'"
  })
})

test('advice is a hint too, and names no command or flag: other programs are told it', async () => {
  const error = badInput('It is too long', { advice: 'Shorten it' })
  expect([error.hint, error.advice]).toEqual(['Shorten it', 'Shorten it'])
  expect(badInput('x', { hint: 'Use --raw', advice: 'Shorten it' }).hint).toBe('Use --raw')
  const src = join(import.meta.dir, '../../src')
  const given: string[] = []
  for await (const path of new Glob('**/*.ts').scan(src)) {
    const text = await Bun.file(join(src, path)).text()
    given.push(...text.matchAll(/\badvice: (['"`].*)$/gm).map(([, words = '']) => words))
  }
  expect(given.length).toBeGreaterThan(5)
  expect(given.filter((words) => /--[a-z]|\bpetals [a-z]|(?<!\w)\/[a-z]+\b/.test(words))).toEqual(
    []
  )
})
