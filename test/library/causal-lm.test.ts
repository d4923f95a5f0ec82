// The library as a program uses it, over a model that is computed in this process.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { AutoDistributedModelForCausalLM, TextStreamer } from '../../src/index.ts'
import { localApi, type LocalApi } from '../api/support/local-api.ts'
import { readReferences } from '../support/models/stories.ts'

setDefaultTimeout(60_000)

let api: LocalApi
let model: AutoDistributedModelForCausalLM

beforeAll(async () => {
  api = await localApi()
  model = new AutoDistributedModelForCausalLM(api.model)
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
})

const reference = readReferences().find(({ prompt }) => prompt === 'Once upon a time')!
const input_ids = reference.promptIds

describe('generate()', () => {
  test('continues ids as the reference does, and gives the prompt with them', async () => {
    const [ids] = await model.generate({ input_ids, max_new_tokens: 30 })
    expect(ids).toEqual([...input_ids, ...reference.ids.slice(0, 30)])
  })

  test('takes camel case, several prompts, and text', async () => {
    const batch = await model.generate({ inputIds: [input_ids, input_ids], maxNewTokens: 5 })
    const expected = [...input_ids, ...reference.ids.slice(0, 5)]
    expect(batch).toEqual([expected, expected])
    const output = await model.generate({
      text: 'Once upon a time',
      max_length: input_ids.length + 5,
      return_dict_in_generate: true
    })
    expect(output.sequences).toEqual([expected])
    expect(output.usage).toMatchObject({ prompt_tokens: 5, completion_tokens: 5 })
    expect(output.finish_reasons).toEqual(['length'])
    expect(reference.text.startsWith(output.texts[0]!)).toBe(true)
  })

  test('refuses a name that it does not know, and what contradicts itself', async () => {
    const refused = async (options: Record<string, unknown>): Promise<string> => {
      const error = await model.generate({ input_ids, ...options }).catch((one: Error) => one)
      expect(error).toBeInstanceOf(Error)
      return String(error)
    }
    expect(await refused({ max_tokens: 3 })).toContain("no option 'max_tokens'")
    expect(await refused({ temperature: 'hot' })).toContain("'temperature'")
    expect(await refused({ text: 'and text' })).toContain('one prompt')
    expect(await refused({ num_beams: 2, do_sample: true })).toContain('chance')
    expect(await refused({ num_return_sequences: 2 })).toContain('same')
    expect(await refused({ max_new_tokens: 1, maxNewTokens: 2 })).toContain('twice')
    expect(await refused({ streamer: 5 })).toContain("'streamer' cannot be 5")
    expect(await refused({ signal: {} })).toContain("'signal' cannot be an object")
    expect(await refused({ logits_processor: [5] })).toContain("'logits_processor' cannot be 5")
  })

  test('beam search refuses what it does not look at', async () => {
    const process = (logits: Float32Array): Float32Array => logits
    for (const more of [
      { stop: 'a' },
      { stop_strings: ['a'] },
      { repetition_penalty: 1.2 },
      { logits_processor: [{ process }] }
    ]) {
      const [name = ''] = Object.keys(more)
      await expect(
        model.generate({ input_ids, max_new_tokens: 1, num_beams: 2, ...more })
      ).rejects.toThrow(`Beam search takes no '${name}'`)
    }
    const none = {
      input_ids,
      max_new_tokens: 0,
      num_beams: 2,
      return_dict_in_generate: true
    } as const
    expect((await model.generate(none)).sequences_scores).toEqual([0])
  })

  test('a conversation is one, and its parts are texts', async () => {
    const ask = (messages: unknown): Promise<number[][]> =>
      model.generate({ messages: messages as never, max_new_tokens: 1 })
    for (const wrong of [[], 'hi', [5], [{ role: 'user' }], [{ role: 5, content: 'x' }]]) {
      await expect(ask(wrong)).rejects.toMatchObject({ code: 'BAD_INPUT' })
    }
    const image = [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }]
    await expect(ask(image)).rejects.toThrow('no text')
  })

  test('one seed gives one text, and samples differ', async () => {
    const options = { input_ids, max_new_tokens: 12, seed: 3, num_return_sequences: 3 }
    const first = await model.generate(options)
    expect(await model.generate(options)).toEqual(first)
    expect(new Set(first.map(String)).size).toBe(3)
  })

  test('a streamer hears the text as it is made', async () => {
    const heard: string[] = []
    const streamer = new TextStreamer(model.tokenizer, {
      skip_prompt: true,
      callback_function: (text) => heard.push(text)
    })
    await model.generate({ input_ids, max_new_tokens: 20, streamer })
    expect(heard.length).toBeGreaterThan(5)
    expect(heard.join('')).toBe(
      model.tokenizer.decode(reference.ids.slice(0, 20), {
        skip_special_tokens: true
      })
    )
  })

  test('stream() gives pieces, and stops at a stop text', async () => {
    let text = ''
    for await (const piece of model.stream({ input_ids, stop: '. ' })) text += piece
    expect(text).toBe(reference.text.slice(0, reference.text.indexOf('. ')))
  })

  test('beam search finds a likelier text than greedy, and its beams are in order', async () => {
    const options = { input_ids, max_new_tokens: 8 }
    const beams = await model.generate({
      ...options,
      num_beams: 4,
      num_return_sequences: 3,
      return_dict_in_generate: true
    })
    const scores = beams.sequences_scores!
    expect(scores).toEqual([...scores].sort((a, b) => b - a))
    const [greedy] = await model.generate(options)
    const scoreOf = async (ids: number[]): Promise<number> => {
      const { logits } = await model.forward(ids)
      let sum = 0
      for (let at = input_ids.length; at < ids.length; at++) {
        const row = logits[at - 1]!
        const peak = Math.max(...row)
        const total = row.reduce((all, value) => all + Math.exp(value - peak), 0)
        sum += row[ids[at]!]! - peak - Math.log(total)
      }
      return sum / (ids.length - input_ids.length)
    }
    expect(await scoreOf(beams.sequences[0]!)).toBeCloseTo(scores[0]!, 4)
    expect(scores[0]!).toBeGreaterThanOrEqual((await scoreOf(greedy!)) - 1e-6)
  })

  test('answers are held to a schema, a pattern or choices, each by masks of its own', async () => {
    const schema = {
      type: 'object',
      properties: { name: { type: 'string', maxLength: 6 }, age: { type: 'integer', minimum: 1 } },
      required: ['name', 'age'],
      additionalProperties: false
    }
    const ask = {
      input_ids,
      do_sample: true,
      seed: 1,
      num_return_sequences: 3,
      max_new_tokens: 120
    }
    const dict = { ...ask, return_dict_in_generate: true } as const
    for (const text of (await model.generate({ ...dict, json_schema: schema })).texts) {
      const { name, age } = JSON.parse(text) as { name: string; age: number }
      expect([...name].length).toBeLessThanOrEqual(6)
      expect(age).toBeGreaterThanOrEqual(1)
    }
    for (const text of (await model.generate({ ...dict, regex: '\\d{3}-[a-c]+' })).texts) {
      expect(text).toMatch(/^\d{3}-[a-c]+$/)
    }
    for (const text of (await model.generate({ ...dict, choices: ['yes', 'no'] })).texts) {
      expect(['yes', 'no']).toContain(text)
    }
    await expect(model.generate({ ...ask, regex: 'a', choices: ['b'] })).rejects.toThrow('one form')
    await expect(model.generate({ ...ask, json_schema: { not: {} } })).rejects.toThrow("'not'")
  })

  test('a cancelled one ends, and the next is unharmed', async () => {
    const abort = new AbortController()
    const streamer = { put: () => abort.abort(), end: () => {} }
    const cancelled = model.generate({ input_ids, streamer, signal: abort.signal })
    await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' })
    const [ids] = await model.generate({ input_ids, max_new_tokens: 5 })
    expect(ids).toEqual([...input_ids, ...reference.ids.slice(0, 5)])
  })
})

test('forward() gives logits of every id', async () => {
  const { logits } = await model.forward(input_ids)
  expect(logits.length).toBe(input_ids.length)
  const last = logits.at(-1)!
  expect(last.indexOf(Math.max(...last))).toBe(reference.ids[0]!)
})

describe('inference_session()', () => {
  test('steps as generate() does, goes back, and goes on elsewhere', async () => {
    const best = (row: Float32Array): number => row.indexOf(Math.max(...row))
    await using session = model.inference_session({ max_length: 64 })
    const made: number[] = []
    let [row] = (await session.step(input_ids)).slice(-1)
    while (made.length < 10) {
      made.push(best(row!))
      ;[row] = await session.step(made.slice(-1))
    }
    expect(made).toEqual(reference.ids.slice(0, 10))
    session.rollback(input_ids.length + 4)
    ;[row] = await session.step([made[4]!])
    expect(best(row!)).toBe(reference.ids[5]!)
    const saved = JSON.parse(JSON.stringify(session.save())) as unknown
    await using other = model.inferenceSession({ resume: saved })
    const [ids] = await model.generate({ session: other, max_new_tokens: 6 })
    expect(ids!.slice(input_ids.length)).toEqual(reference.ids.slice(0, 11))
    expect(other.position).toBe(ids!.length)
  })

  test('takes no more than its length', async () => {
    await using session = model.inference_session({ max_length: 6 })
    await session.step(input_ids)
    await expect(session.step([1, 2])).rejects.toMatchObject({ code: 'BAD_INPUT' })
    expect(() => session.rollback(9)).toThrow('cannot go back')
    expect(() => model.inference_session({ max_lenght: 3 })).toThrow('no option')
  })

  test('generate() stays within max_length, and what was kept is checked', async () => {
    await using session = model.inference_session({ max_length: input_ids.length + 3 })
    const [ids] = await model.generate({ session, input_ids, max_new_tokens: 50 })
    expect(ids).toEqual([...input_ids, ...reference.ids.slice(0, 3)])
    await expect(model.generate({ session, input_ids })).rejects.toThrow('too many')
    const kept = session.save()
    for (const resume of [{ ...kept, ids: 'abc' }, { ...kept, ids: [-1] }, { model: kept.model }]) {
      expect(() => model.inference_session({ resume })).toThrow("'resume' is no session")
    }
    expect(() => model.inference_session({ resume: kept, max_length: 2 })).toThrow(
      'max_length is 2'
    )
  })
})

test('the tokenizer is called, and applies the chat template', () => {
  const { tokenizer } = model
  expect(tokenizer('Once upon a time').input_ids).toEqual(input_ids)
  expect(tokenizer.decode(input_ids, { skip_special_tokens: true })).toBe('Once upon a time')
  const messages = [{ role: 'user', content: 'Once upon a time' }]
  expect(tokenizer.apply_chat_template(messages, { tokenize: false })).toBe('Once upon a time\n')
  expect(tokenizer.apply_chat_template(messages).length).toBeGreaterThan(4)
})
