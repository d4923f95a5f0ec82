// A conversation that is interrupted at any token goes on as if it had not been, in another
// process.
import { expect, test } from 'bun:test'
import {
  Conversation,
  type ChatModel,
  type SavedConversation
} from '../../src/library/text/conversation.ts'
import { Generator, type GenerateOptions } from '../../src/client/text/generate.ts'
import { Constraints } from '../../src/library/grammar/constraint.ts'
import { openModel } from '../../src/model/open-model.ts'
import { createTokenizer } from '../../src/model/text/tokenizer.ts'
import { storiesLocation } from '../support/models/stories.ts'
import { diceSpeculation, SeerDrafter, TinyLm, TinySwarm } from '../support/models/tiny-lm.ts'

const TEMPLATE = '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:'
const opened = await openModel(storiesLocation)
const model: ChatModel = {
  model: { ...opened, chatTemplate: TEMPLATE },
  tokenizer: createTokenizer(opened.tokenizer)
}

const constraints = new Constraints(opened.tokenizer, 512)

/** A client that was just started: nothing of a conversation is held anywhere. */
function freshChat(seed: number, drafted: readonly number[] = []): Conversation {
  const lm = new TinyLm({ seed, vocabSize: 512, order: 5, eosIds: [2], spread: 9 })
  const generating = Object.assign(lm, { tokenizer: model.tokenizer })
  const swarm = new TinySwarm(lm)
  const drafters = [new SeerDrafter(drafted, 0.6, seed)]
  const speculation = diceSpeculation(seed)
  const generator = new Generator(generating, swarm, { clock: swarm.clock, drafters, speculation })
  const owned = { generator, route: () => [], onnews: () => {}, close: async () => {} }
  return new Conversation({ local: model, owned, constraints })
}

async function listen(answer: ReturnType<Conversation['ask']>, tokens = Infinity): Promise<string> {
  let text = ''
  for await (const token of answer) {
    text += token.text
    if (--tokens <= 0) break
  }
  return text
}

function kept(chat: Conversation): SavedConversation {
  return JSON.parse(JSON.stringify(chat.save())) as SavedConversation
}

for (const temperature of [0, 0.9]) {
  test(`an answer goes on from any token, at temperature ${temperature}`, async () => {
    const options: GenerateOptions = { temperature, seed: 11, maxTokens: 40 }
    const whole = freshChat(3)
    await listen(whole.ask('One', options))
    const text = await listen(whole.ask('Two', options))
    expect(text.length).toBeGreaterThan(40)
    for (let cut = 1; cut < 40; cut += 3) {
      const first = freshChat(3)
      await listen(first.ask('One', options))
      const begun = await listen(first.ask('Two', options), cut)
      const { messages, unfinished } = kept(first)
      expect([messages.length, unfinished?.ids.length]).toEqual([2, cut])
      const ids = [...(unfinished?.prompt ?? []), ...(unfinished?.ids ?? [])]
      const second = freshChat(3, ids)
      second.resume({ messages, unfinished })
      expect({ cut, text: await listen(second.goOn()) }).toEqual({ cut, text })
      expect(text.startsWith(begun)).toBe(true)
      expect(kept(second)).toEqual(kept(whole))
    }
  })
}

test('an answer that is interrupted twice goes on twice', async () => {
  const options: GenerateOptions = { temperature: 0.9, seed: 5, maxTokens: 30 }
  const whole = await listen(freshChat(4).ask('Hello', options))
  let { messages, unfinished } = kept(freshChat(4))
  let told = ''
  for (let round = 0; round < 3; round++) {
    const chat = freshChat(4)
    chat.resume({ messages, unfinished })
    told = await listen(round === 0 ? chat.ask('Hello', options) : chat.goOn(), 10 * round + 8)
    ;({ messages, unfinished } = kept(chat))
  }
  expect([unfinished?.ids.length, whole.startsWith(told)]).toEqual([28, true])
})

test('a new question or a new conversation forgets the interrupted answer', async () => {
  const chat = freshChat(4)
  await listen(chat.ask('Hello', { temperature: 0 }), 3)
  await listen(chat.ask('Again', { temperature: 0, maxTokens: 5 }))
  expect([chat.unfinished, chat.messages.length]).toEqual([undefined, 2])
  await listen(chat.ask('Hello', { temperature: 0 }), 3)
  chat.reset()
  expect([chat.unfinished, chat.messages.length]).toEqual([undefined, 0])
  expect(listen(chat.goOn())).rejects.toMatchObject({ code: 'BAD_INPUT' })
})

test('undo() takes back the last exchange, or an answer that was stopped', async () => {
  const chat = freshChat(3)
  await listen(chat.ask('One', { maxTokens: 4 }))
  await listen(chat.ask('Two', { maxTokens: 4 }))
  await listen(chat.ask('Three', { maxTokens: 4 }), 1)
  const undone = [chat.undo(), chat.unfinished, chat.undo(), chat.messages.length, chat.undo()]
  expect(undone).toEqual(['Three', undefined, 'Two', 2, 'One'])
  expect([chat.undo(), chat.messages]).toEqual([undefined, []])
})

test('setSystem() replaces instructions, also in a conversation that has none', async () => {
  const chat = freshChat(3)
  await listen(chat.ask('One', { maxTokens: 4 }))
  chat.setSystem('Be brief')
  chat.setSystem('')
  expect(
    chat.messages.map(({ role, content }) => [role, role === 'assistant' ? '' : content])
  ).toEqual([
    ['system', ''],
    ['user', 'One'],
    ['assistant', '']
  ])
  chat.reset()
  expect(chat.messages).toEqual([{ role: 'system', content: '' }])
})

test('a question that does not fit is refused at once, in words for a prompt or a conversation', async () => {
  const chat = freshChat(3)
  const long = 'Once upon a time there was a girl. '.repeat(100)
  const refusal = (): string => {
    try {
      chat.ask(long)
      return 'none'
    } catch (error) {
      return (error as Error).message
    }
  }
  expect(refusal()).toStartWith('The prompt is too long: ')
  await listen(chat.ask('One', { maxTokens: 4 }))
  expect(refusal()).toStartWith("The conversation has outgrown the model's context: ")
  expect([chat.messages.length, chat.unfinished]).toEqual([2, undefined])
})

test('an answer that is held to a schema goes on under it, from any token, and others are free', async () => {
  const constraint = { kind: 'schema', schema: { enum: ['yes and no', 'maybe'] } } as const
  const options = { temperature: 0.9, seed: 3, maxTokens: 60, constraint }
  const whole = freshChat(5)
  const text = await listen(whole.ask('Well?', options))
  expect(['"yes and no"', '"maybe"']).toContain(text.trim())
  expect(whole.unfinished).toBeUndefined()
  let cuts = 0
  for (let cut = 1; ; cut++) {
    const first = freshChat(5)
    await listen(first.ask('Well?', options), cut)
    if (!first.unfinished) break
    cuts++
    const second = freshChat(5)
    second.resume(kept(first))
    expect({ cut, text: await listen(second.goOn()) }).toEqual({ cut, text })
  }
  expect(cuts).toBeGreaterThan(2)
  const free = await listen(whole.ask('And?', { temperature: 0.9, seed: 3, maxTokens: 20 }))
  expect(['"yes and no"', '"maybe"']).not.toContain(free.trim())
})

test('a branch begins as the conversation was, and neither changes the other', async () => {
  const options: GenerateOptions = { temperature: 0, maxTokens: 8 }
  const trunk = freshChat(3)
  await listen(trunk.ask('One', options))
  const branch = freshChat(3)
  branch.resume(trunk.save())
  const [a, b] = [await listen(trunk.ask('Two', options)), await listen(branch.ask('Two', options))]
  expect(a).toBe(b)
  await listen(branch.ask('Three', options))
  expect([trunk.messages.length, branch.messages.length]).toEqual([4, 6])
})
