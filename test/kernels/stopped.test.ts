// Runs that another thread ends in the middle of a long operation, and that go on from there: the
// same bits as without a stop.
import { expect, test } from 'bun:test'
import { matmulBack } from '../../src/kernels/gradient-operations.ts'
import { loadKernels } from '../../src/kernels/load.ts'
import { ProgramBuilder } from '../../src/kernels/program.ts'
import { Arena, Runner, type Run } from '../../src/kernels/run.ts'
import { matrix, Numbers } from './support/world.ts'

const WIDTH = 1024
const WIDE = 2048
const ROWS = 256
/** Raises a word a moment after it was lowered. */
const RAISER = `
  self.onmessage = ({ data: word }) => {
    for (;;) {
      Atomics.wait(word, 0, 1)
      const until = performance.now() + 1
      while (performance.now() < until);
      if (Atomics.load(word, 0) === 2) return self.postMessage('done')
      Atomics.store(word, 0, 1)
    }
  }`

test('a product that is stopped between two items goes on with the next one', async () => {
  const kernels = loadKernels()
  const numbers = new Numbers(3)
  const up = matrix(kernels, numbers, { rows: WIDE, columns: WIDTH })
  const builder = new ProgramBuilder({
    width: WIDTH,
    outWidth: WIDE,
    maxRows: ROWS,
    floatActivations: true
  })
  builder.block()
  builder.matmul(builder.hidden, builder.out, [up])
  matmulBack(
    builder,
    { gradient: builder.out, back: builder.hidden },
    { matrices: [up], adds: true }
  )
  const program = builder.build()
  using runner = new Runner(kernels, 2)
  const arena = new Arena()
  const hidden = numbers.floats(ROWS * WIDTH)
  const made = (more: Partial<Run> = {}): Run => ({
    first: 0,
    end: 1,
    rows: ROWS,
    hidden: hidden.slice(),
    result: new Float32Array(hidden.length),
    out: new Float32Array(ROWS * WIDE),
    ...more
  })
  const whole = made()
  runner.run(program, whole, arena)

  const word = new Int32Array(new SharedArrayBuffer(4)).fill(1)
  const raiser = new Worker(URL.createObjectURL(new Blob([RAISER])))
  raiser.postMessage(word)
  // Most runs are stopped within an operation; how many depends on the machine.
  for (let inside = 0; inside < 3;) {
    const done = new Int32Array(new ArrayBuffer(8))
    const run = made({ abort: word, done })
    for (let isDone = false; !isDone;) {
      Atomics.store(word, 0, 0)
      Atomics.notify(word, 0)
      try {
        runner.run(program, run, arena)
        isDone = true
      } catch (error) {
        expect(error).toMatchObject({ code: 'CANCELLED' })
        if (done[1]! > 0) inside++
      }
    }
    expect(run.result).toEqual(whole.result)
    expect(run.out).toEqual(whole.out)
  }
  Atomics.store(word, 0, 2)
  Atomics.notify(word, 0)
  raiser.terminate()
}, 60_000)
