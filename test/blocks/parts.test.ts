// Small parts of the compute room by themselves.
import { describe, expect, test } from 'bun:test'
import { MemoryBudget } from '../../src/blocks/memory-budget.ts'
import { ortLibraryFiles } from '../../src/blocks/ort/library.ts'

describe('MemoryBudget', () => {
  test('gives back once what was taken, and refuses what is over with numbers', () => {
    const budget = new MemoryBudget(1000)
    const taken = budget.reserve(600, 'One')
    expect(() => budget.reserve(401, 'Two')).toThrow(
      'Two cannot be held: 401 B are needed, 400 B of 1000 B are free'
    )
    taken[Symbol.dispose]()
    taken[Symbol.dispose]()
    expect(budget.freeBytes).toBe(1000)
  })
})

describe('ortLibraryFiles()', () => {
  test('lists what each target needs beside each other, the library first', () => {
    expect([
      ortLibraryFiles('linux', 'x64'),
      ortLibraryFiles('linux', 'arm64'),
      ortLibraryFiles('darwin', 'arm64'),
      ortLibraryFiles('win32', 'x64')
    ]).toEqual([
      ['libonnxruntime.so.1'],
      ['libonnxruntime.so.1'],
      ['libonnxruntime.1.dylib'],
      ['onnxruntime.dll', 'DirectML.dll', 'dxcompiler.dll', 'dxil.dll']
    ])
  })

  test('refuses a target that the package has no build for', () => {
    expect(() => ortLibraryFiles('darwin', 'x64')).toThrow('no darwin x64 build')
    expect(() => ortLibraryFiles('sunos', 'x64')).toThrow("no build for 'sunos'")
  })
})
