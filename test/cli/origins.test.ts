// --cors: origins as browsers tell them.
import { expect, test } from 'bun:test'
import { parseOrigins } from '../../src/cli/run/api.ts'

test('origins are taken, and what no browser tells is refused', () => {
  const given = 'https://app.example, http://localhost:3000,app://obsidian.md,null,*'
  expect(parseOrigins(given)).toEqual(given.split(/, ?/))
  expect(parseOrigins(undefined)).toEqual([])
  for (const wrong of ['app.example', 'https://app.example/', 'https://app.example/x', 'a b']) {
    expect(() => parseOrigins(wrong)).toThrow(`--cors cannot be '${wrong}'`)
  }
})
