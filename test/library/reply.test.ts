// Replies over a generator whose tokens are given: how the tokens of thoughts are counted, and
// which session an answer is lent.
import { expect, test } from 'bun:test'
import { AppError } from '../../src/base/errors.ts'
import type { Generator } from '../../src/client/text/generate.ts'
import { createReplyParser } from '../../src/client/text/reply/parser.ts'
import { reply } from '../../src/library/text/reply.ts'
import type { OwnedGenerator } from '../../src/library/text/owned-generator.ts'
import { TextModel } from '../../src/library/text/text-model.ts'
import { collect } from '../../src/library/text/together.ts'
import { Turns } from '../../src/library/text/turns.ts'
import { openModel } from '../../src/model/open-model.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'
import { storiesLocation } from '../support/models/stories.ts'

const THINKING = { reasoning: { open: '<think>', close: '</think>' }, shown: [] }

/** A generator that says these tokens, whatever it is asked. */
function saying(tokens: readonly string[], fed: number[] = []): OwnedGenerator {
  const stats = { promptTokens: 1, reusedTokens: 0, newTokens: 0, finish: 'stop' }
  const generator = {
    fed,
    stats,
    async *generate() {
      for (const [id, text] of tokens.entries()) {
        stats.newTokens++
        yield { id, text }
      }
      return stats
    }
  }
  return {
    generator: generator as unknown as Generator,
    route: () => [],
    onnews: () => {},
    close: async () => {}
  }
}

async function reasoningTokens(tokens: readonly string[], prompt = ''): Promise<number[]> {
  await using model = await modelOf(() => saying(tokens))
  const parser = createReplyParser({ format: THINKING, prompt, newId: () => 'id' })
  const end = await collect(reply(model, [1], { parser }), () => {})
  return [end.reasoningTokens, end.newTokens]
}

async function modelOf(open: () => OwnedGenerator): Promise<TextModel> {
  const model = await openModel(storiesLocation)
  const { config, tokenizer } = model
  const local = { model, config, tokenizer, eosIds: new Set(), ready: async () => {} }
  return new TextModel({
    id: 'a',
    local: local as unknown as TextModel['local'],
    open: async () => open()
  })
}

test('tokens of a thought are counted with its marks, and those behind it are not', async () => {
  const thought = ['<think>', 'It', ' is', ' so', '.', '</think>']
  expect(await reasoningTokens([...thought, '\n\n', 'Yes', '.'])).toEqual([6, 9])
  expect(await reasoningTokens(['Yes', '.'])).toEqual([0, 2])
  // Opened by the template, and cut before it ended.
  expect(await reasoningTokens(['It', ' is'], '<think>\n')).toEqual([2, 2])
  expect(await reasoningTokens(['It', '</think>', 'Yes'], '<think>')).toEqual([2, 3])
})

test('an answer that servers refuse waits for a session of another, before those who came later', async () => {
  const limit = (): AppError => new AppError('LIMIT', '1 session is open', { retryable: true })
  const order: string[] = []
  let open = 0
  const gate = Promise.withResolvers<void>()
  await using model = await modelOf(() => {
    const owned = saying(['a', 'b'])
    const isOver = ++open > 1
    const { generator } = owned
    const generate = generator.generate.bind(generator)
    generator.generate = async function* (...given) {
      if (isOver) throw limit()
      if (order.length === 0) await gate.promise
      return yield* generate(...given)
    }
    return { ...owned, close: async () => void open-- }
  })
  const ask = async (name: string): Promise<void> => {
    const end = await collect(reply(model, [1], {}), () => {})
    order.push(`${name} ${end.newTokens}`)
  }
  const first = ask('first')
  const second = ask('second')
  while (model.waiting < 1) await Bun.sleep(1)
  const third = ask('third')
  while (model.waiting < 2) await Bun.sleep(1)
  gate.resolve()
  await Promise.all([first, second, third])
  expect(order.map((one) => one.split(' ')[0])).toEqual(['first', 'second', 'third'])
  expect(open).toBe(1)
})

test('what servers refuse to the only answer fails', async () => {
  await using model = await modelOf(() => {
    const owned = saying([])
    owned.generator.generate = () => {
      throw new AppError('NO_MEMORY', 'No room', { retryable: true })
    }
    return owned
  })
  const failing = collect(reply(model, [1], {}), () => {})
  expect(await failing.catch((error: unknown) => error)).toMatchObject({ code: 'NO_MEMORY' })
  expect(model.active).toBe(0)
})

test('after a refusal one more at once is tried each 20 s', async () => {
  const clock = new FakeClock()
  const turns = new Turns(4, clock)
  for (let i = 0; i < 4; i++) await turns.take(undefined)
  expect([turns.refuse(), turns.most]).toEqual([true, 3])
  turns.leave()
  let has = false
  const waiting = turns.take(undefined).then(() => (has = true))
  await clock.advance(19_999)
  expect(has).toBe(false)
  await clock.advance(1)
  expect(turns.most).toBe(4)
  turns.leave()
  await waiting
  expect([turns.active, turns.waiting]).toEqual([3, 0])
})

test('a new session is opened where one under way holds more of the prompt than an idle one', async () => {
  const opened: number[][] = []
  await using model = await modelOf(() => {
    const fed: number[] = []
    opened.push(fed)
    return saying([], fed)
  })
  const prompt = Array.from({ length: 100 }, (_, i) => i)
  const first = await model.borrow(prompt)
  const second = await model.borrow([7])
  await second[Symbol.asyncDispose]()
  // The first is computing: the idle one is as good as a new one until it has got somewhere.
  await using third = await model.borrow(prompt)
  expect(opened.length).toBe(2)
  expect(third.generator.fed).toBe(opened[1]!)
  await third[Symbol.asyncDispose]()
  opened[0]!.push(...prompt)
  await using fourth = await model.borrow(prompt)
  expect(opened.length).toBe(3)
  expect(fourth.generator.fed).toBe(opened[2]!)
  await first[Symbol.asyncDispose]()
})
