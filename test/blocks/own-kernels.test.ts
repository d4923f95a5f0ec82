// Without a device nothing of onnxruntime gets into the process: neither a server's span nor a
// client's head needs it.
import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { Compute } from '../../src/blocks/compute.ts'
import { smollm2Location } from '../support/models/smollm2.ts'

const WIDTH = 576

test.if(process.platform === 'linux')(
  'a span and a head on the CPU load no library but our own',
  async () => {
    const location = await smollm2Location()
    await using compute = new Compute({ threads: 1, libraryDir: '/nowhere' })
    const { span } = await compute.loadSpan({ location, start: 0, end: 1, quant: 'native' })
    const session = await compute.openSession(span)
    const row = { session, start: 0, count: 1, hidden: new Float32Array(WIDTH).fill(0.1) }
    const { hidden } = await compute.step(row)
    await compute.head(await compute.loadHead(location, 'native'), hidden)
    const mapped = readFileSync('/proc/self/maps', 'utf8')
    expect(mapped).toMatch(/petals-\w+\.so/)
    expect(mapped).not.toContain('onnxruntime')
  }
)
