// stdout that cannot be written to: a reader that went away is no error, a full disk is one.
import { expect, test } from 'bun:test'
import { Writable } from 'node:stream'
import { createOutput, print } from '../../src/cli/output.ts'

function broken(code: string): Writable {
  const error = Object.assign(new Error(`${code}: write`), { code })
  return new Writable({ write: (_chunk, _encoding, done) => done(error) })
}

async function outcome(stdout: Writable): Promise<unknown> {
  const output = createOutput(stdout)
  await output.write('text')
  await output.end()
  return { gone: output.gone.aborted, failure: output.failure?.code }
}

test('createOutput() takes a reader that went away as the end', async () => {
  expect(await outcome(broken('EPIPE'))).toEqual({ gone: true, failure: undefined })
})

test('createOutput() tells that a disk is full', async () => {
  expect(await outcome(broken('ENOSPC'))).toEqual({ gone: true, failure: 'UNAVAILABLE' })
})

test('createOutput() finds nothing wrong with what can be written', async () => {
  const stdout = new Writable({ write: (_chunk, _encoding, done) => done() })
  expect(await outcome(stdout)).toEqual({ gone: false, failure: undefined })
})

test('print() tells a reader that went away from a full disk and from success', async () => {
  const fine = new Writable({ write: (_chunk, _encoding, done) => done() })
  expect([await print('text', fine), await print('text', broken('EPIPE'))]).toEqual([0, 141])
  await expect(print('text', broken('ENOSPC'))).rejects.toMatchObject({ code: 'UNAVAILABLE' })
})
