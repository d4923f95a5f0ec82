import { describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { seededRandom } from '../../src/base/random.ts'
import { epochOrder, microBatches, stepCount, stepsOf } from '../../src/tune/data/batches.ts'
import { examplesOf, labelsOf, type Example } from '../../src/tune/data/examples.ts'
import { readRecords } from '../../src/tune/data/records.ts'
import { adamW, clipGradients, newAdamWState } from '../../src/tune/optimise/adamw.ts'
import { learningRateAt } from '../../src/tune/optimise/schedule.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

async function read(content: string | Uint8Array, name: string): Promise<Example[]> {
  const file = typeof content === 'string' ? bytes(content) : content
  return examplesOf(await readRecords(file, name), name)
}

describe('JSON lines', () => {
  test('are conversations, completions and texts; empty lines are skipped', async () => {
    const text = [
      '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}',
      '',
      '{"prompt":"c","completion":"d"}',
      '{"text":"e"}'
    ].join('\n')
    for (const name of ['f.jsonl', 'f', 'stdin']) {
      expect((await read(text, name)).map(({ kind, line }) => [kind, line])).toEqual([
        ['messages', 1],
        ['completion', 3],
        ['text', 4]
      ])
    }
  })

  test('that are bad are told all at once, by number', async () => {
    const text = [
      '{',
      '[]',
      '{"a":1}',
      '{"prompt":"x"}',
      '{"messages":[]}',
      '{"text":"fine"}'
    ].join('\n')
    await expect(read(text, 'f.jsonl')).rejects.toThrow(
      /line 1: no JSON\n.*line 2: no JSON object\n.*line 3:.*\n.*line 4: 'completion' is no text\n.*line 5/
    )
  })

  test('are needed', async () => {
    await expect(read('\n\n', 'f.jsonl')).rejects.toThrow('it has no examples')
    await expect(read(Uint8Array.of(0xff, 0xfe, 0x7b, 0), 'f.jsonl')).rejects.toThrow('UTF-8')
  })
})

describe('CSV', () => {
  test('has quotes, lines in fields, other fields and a mark of its order of bytes', async () => {
    const text = '\ufeffid,prompt,completion\r\n1,"a, ""b""","two\nlines"\r\n\r\n2,c,d\r\n'
    expect(await read(text, 'f.csv')).toEqual([
      { kind: 'completion', prompt: 'a, "b"', completion: 'two\nlines', line: 2 },
      { kind: 'completion', prompt: 'c', completion: 'd', line: 5 }
    ])
  })

  test.each([
    ['semicolons', 'prompt;completion\na,b;c\n'],
    ['tabs', 'prompt\tcompletion\na,b\tc\n']
  ])('is read with %s', async (_, text) => {
    const [only] = await read(text, 'stdin')
    expect(only).toEqual({ kind: 'completion', prompt: 'a,b', completion: 'c', line: 2 })
  })

  test('has conversations as JSON', async () => {
    const messages = [{ role: 'assistant', content: 'hello' }]
    const quoted = JSON.stringify(messages).replaceAll('"', '""')
    expect(await read(`messages\n"${quoted}"\n`, 'f.csv')).toEqual([
      { kind: 'messages', messages, line: 2 }
    ])
  })

  test('that is bad is told all at once, by the number of the line', async () => {
    const text = 'prompt,completion\na,b\nonly\nc,\n1,2,3\nd,e\n"x"y,z\nf,g\n'
    await expect(read(text, 'f.csv')).rejects.toThrow(
      /line 3: 1 fields, and the first line names 2\n.*line 4: an empty completion\n.*line 5: 3 fields.*\n.*line 7: no CSV/
    )
  })

  test('whose quote never ends does not take the rest for one field', async () => {
    const text = `text\n"${'a\n'.repeat(10)}`
    await expect(read(text, 'f.csv')).rejects.toThrow(/line \d+: no CSV/)
    await expect(read('a,b\n1,2\n', 'f.csv')).rejects.toThrow("line 2: neither 'messages'")
  })
})

describe('Parquet', () => {
  // Tables of three rows by pyarrow 26, each with another compression.
  const tables = join(import.meta.dir, '..', 'fixtures', 'tables')
  const file = (name: string): Uint8Array => new Uint8Array(readFileSync(join(tables, name)))

  test.each(['none', 'snappy', 'gzip', 'brotli', 'zstd'])('is read with %s', async (name) => {
    expect(await read(file(`${name}.parquet`), `${name}.parquet`)).toEqual([
      {
        kind: 'messages',
        messages: [
          { role: 'user', content: 'Hi' },
          { role: 'assistant', content: 'Hello, Zoë' }
        ],
        line: 1
      },
      { kind: 'completion', prompt: 'a', completion: 'b', line: 2 },
      { kind: 'text', text: 'c', line: 3 }
    ])
  })

  test('has classes, also as numbers, and tells bad rows by number', async () => {
    const records = await readRecords(file('labels.parquet'), 'labels.parquet')
    const examples = examplesOf(records, 'labels.parquet', 'classification')
    expect(examples[1]).toEqual({ kind: 'label', text: 'bad', label: '0', line: 2 })
    expect(labelsOf(examples, 'labels.parquet')).toEqual(['0', '1'])
    const others = await readRecords(file('none.parquet'), 'none.parquet')
    expect(() => examplesOf(others, 'none.parquet', 'classification')).toThrow(
      /row 1: 'text' is no text\n {2}row 2: .*\n {2}row 3: 'label' is no text/
    )
  })

  test('that is cut short or spoilt is refused, whatever it claims', async () => {
    await expect(read(bytes('text'), 'x.parquet')).rejects.toThrow('it is no Parquet file')
    const good = file('snappy.parquet')
    await expect(read(good.subarray(0, 900), 'x.parquet')).rejects.toThrow('as Parquet')
    const random = seededRandom(5)
    for (let round = 0; round < 200; round++) {
      const spoilt = good.slice()
      for (let i = 0; i < 3; i++) spoilt[4 + random.below(spoilt.length - 4)] = random.below(256)
      // What is read of it may be wrong, or it is refused as bad input; nothing else.
      await read(spoilt, 'x.parquet').catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'BAD_INPUT' })
      })
    }
  })
})

describe('order', () => {
  test('is the same for a seed, another for another seed or epoch, and whole', () => {
    const order = epochOrder(50, 1, 0)
    expect(epochOrder(50, 1, 0)).toEqual(order)
    expect(epochOrder(50, 2, 0)).not.toEqual(order)
    expect(epochOrder(50, 1, 1)).not.toEqual(order)
    expect(order.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i))
  })

  test('makes as many steps as foretold, each example once in an epoch', () => {
    const options = { count: 10, batch: 4, epochs: 2, seed: 3 }
    const steps = [...stepsOf(options)]
    expect(steps.map(({ length }) => length)).toEqual([4, 4, 2, 4, 4, 2])
    expect(steps.length).toBe(stepCount(options))
  })

  test('lets neighbours travel together as far as rows permit', () => {
    expect(microBatches([3, 3, 5, 9, 1], (rows) => rows, 6)).toEqual([[3, 3], [5], [9], [1]])
  })
})

describe('AdamW', () => {
  test('does what torch.optim.AdamW does', () => {
    // torch 2.15: p = [0.5, -0.25, 1], lr 0.1, weight_decay 0.01, gradients g and then -2 g.
    const values = Float32Array.of(0.5, -0.25, 1)
    const state = newAdamWState(3)
    const gradient = Float32Array.of(0.1, -0.2, 0.003)
    const options = { learningRate: 0.1, weightDecay: 0.01 }
    adamW(values, gradient, state, options)
    expectNear(values, [0.3995, -0.14975, 0.89900035])
    adamW(
      values,
      gradient.map((value) => -2 * value),
      state,
      options
    )
    expectNear(values, [0.43571088, -0.18621063, 0.93471164])
  })

  test('gradients that are too long are shortened together', () => {
    const gradients = [Float32Array.of(3), Float32Array.of(4)]
    expect(clipGradients(gradients, 1)).toBe(5)
    expectNear(Float32Array.of(gradients[0]![0]!, gradients[1]![0]!), [0.6, 0.8])
    expect(clipGradients(gradients, 0)).toBeCloseTo(1, 5)
  })
})

test('the rate goes up and then down', () => {
  const rate = (kind: 'cosine' | 'linear', step: number): number =>
    learningRateAt({ kind, learningRate: 1, warmup: 3, steps: 13 }, step)
  expect([0, 1, 2, 3].map((step) => rate('linear', step))).toEqual([0.25, 0.5, 0.75, 1])
  expect(rate('linear', 8)).toBeCloseTo(0.5, 10)
  expect(rate('cosine', 8)).toBeCloseTo(0.5, 10)
  expect(rate('cosine', 13)).toBeCloseTo(0, 10)
})

function expectNear(values: Float32Array, expected: readonly number[]): void {
  for (const [i, value] of expected.entries()) expect(values[i]).toBeCloseTo(value, 5)
}
