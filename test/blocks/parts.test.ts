// Small parts of the compute room by themselves.
import { describe, expect, test } from 'bun:test'
import { JobQueue, type Job } from '../../src/blocks/job-queue.ts'
import { MemoryBudget } from '../../src/blocks/memory-budget.ts'
import { ortLibraryFiles } from '../../src/blocks/ort/library.ts'

function job(log: string[], name: string, chunks: number): Job {
  let done = 0
  return {
    advance() {
      log.push(`${name}${++done}`)
      return done === chunks
    },
    drop: () => void log.push(`${name} dropped`)
  }
}

describe('JobQueue', () => {
  test('lets lanes take turns, and jobs of a lane follow each other', () => {
    const [queue, log] = [new JobQueue(), [] as string[]]
    queue.push('a', job(log, 'long', 3))
    queue.push('a', job(log, 'next', 1))
    queue.push('b', job(log, 'short', 1))
    queue.runOne()
    queue.push('c', job(log, 'late', 1))
    while (!queue.idle) queue.runOne()
    expect(log).toEqual(['long1', 'short1', 'long2', 'late1', 'long3', 'next1'])
  })

  test('drops a lane and tells its jobs, and no other', () => {
    const [queue, log] = [new JobQueue(), [] as string[]]
    queue.push('a', job(log, 'one', 2))
    queue.push('a', job(log, 'two', 1))
    queue.push('b', job(log, 'other', 1))
    queue.runOne()
    queue.drop('a')
    while (!queue.idle) queue.runOne()
    expect(log).toEqual(['one1', 'one dropped', 'two dropped', 'other1'])
  })

  test('goes on after a job that throws', () => {
    const [queue, log] = [new JobQueue(), [] as string[]]
    const bad: Job = {
      advance() {
        throw new Error('no')
      },
      drop() {}
    }
    queue.push('a', bad)
    queue.push('a', job(log, 'good', 1))
    expect(() => queue.runOne()).toThrow('no')
    while (!queue.idle) queue.runOne()
    expect(log).toEqual(['good1'])
  })
})

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
