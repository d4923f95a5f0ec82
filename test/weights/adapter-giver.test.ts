// What a node gives of adapters: pieces of what it has, in order, once for each want, and no more
// often than an honest server asks.
import { expect, test } from 'bun:test'
import { openModel } from '../../src/model/open-model.ts'
import { AdapterGiver, giverOf, type GiveLink } from '../../src/weights/adapters/adapter-giver.ts'
import { AdapterPack } from '../../src/weights/adapters/adapter-pack.ts'
import { Pieces } from '../../src/wire/pieces.ts'
import { WANTS, type Give, type Want } from '../../src/wire/types.ts'
import { Numbers } from '../kernels/support/world.ts'
import { FakeClock } from '../support/fakes/fake-clock.ts'
import { storiesLocation } from '../support/models/stories.ts'

const model = await openModel(storiesLocation)
model.close()
const { hiddenSize, blockCount } = model.config
const prompt = new Numbers(1).floats(300 * hiddenSize)
const pack = new AdapterPack(
  { prompt, deepPrompt: new Numbers(2).floats(blockCount * prompt.length) },
  { config: model.config, contentId: new Uint8Array(32) }
)
const SIZE = pack.part(0).byteLength

class Link implements GiveLink {
  readonly peer = 'aa'
  closed = false
  readonly gives: Give[] = []
  #waking: (() => void)[] = []

  give(message: Give): boolean {
    this.gives.push({ ...message, data: message.data.slice() })
    for (const wake of this.#waking.splice(0)) wake()
    return this.gives.length % 2 === 0
  }

  async drained(): Promise<void> {}

  /** The bytes that answer a want, or the code that refuses it. */
  async answer(request: number): Promise<Uint8Array | string> {
    for (;;) {
      const own = this.gives.filter((one) => one.request === request)
      const last = own.at(-1)
      if (last?.refused !== undefined) return last.refused
      if (last?.left === 0) {
        const pieces = new Pieces(2 ** 24)
        return own.map((one) => pieces.add(one)).at(-1) ?? 'nothing'
      }
      await new Promise<void>((resolve) => this.#waking.push(resolve))
    }
  }
}

let requests = 0
function want(what: (typeof WANTS)[number], more: Partial<Want> = {}): Want {
  const request = ++requests
  return { request, what: WANTS.indexOf(what), name: pack.name, start: 0, count: 0, ...more }
}

function giver(): AdapterGiver {
  const made = new AdapterGiver(new FakeClock())
  made.offer(() => undefined)
  made.offer((id) => (id === pack.name ? pack : undefined))
  return made
}

test('a manifest and parts come in pieces, one want after another', async () => {
  const link = new Link()
  const { handlers } = giver()
  const wants = [
    want('adapter'),
    want('adapter-part', { start: 2, count: SIZE }),
    want('adapter-part', { start: blockCount, count: SIZE })
  ]
  for (const one of wants) handlers.onwant(link, one)
  const answers = await Promise.all(wants.map(({ request }) => link.answer(request)))
  expect(answers).toEqual([pack.manifestBytes, pack.part(2), pack.part(blockCount)])
  expect(link.gives.length).toBeGreaterThan(3)
})

test('what it does not have is refused, and what is not about adapters left to others', async () => {
  const link = new Link()
  const { handlers } = giver()
  const wants = [
    want('adapter', { name: 'ff'.repeat(32) }),
    want('adapter-part', { start: 99, count: SIZE }),
    want('adapter-part', { start: 0, count: SIZE - 1 })
  ]
  for (const one of wants) handlers.onwant(link, one)
  const answers = await Promise.all(wants.map(({ request }) => link.answer(request)))
  expect(answers).toEqual(['NOT_FOUND', 'NOT_FOUND', 'BAD_INPUT'])
  const { length } = link.gives
  handlers.onwant(link, want('bytes', { count: 5 }))
  await Promise.resolve()
  expect(link.gives.length).toBe(length)
})

test('a peer that asks for the same without end is given it no more', async () => {
  const link = new Link()
  const { handlers } = giver()
  const answers: (Uint8Array | string)[] = []
  for (let i = 0; i < 70; i++) {
    const one = want('adapter')
    handlers.onwant(link, one)
    answers.push(await link.answer(one.request))
  }
  expect(answers.filter((one) => one === 'LIMIT').length).toBe(6)
})

test('a node has one giver, whoever asks for it', () => {
  let handled = 0
  const node = {
    handle: () => {
      handled++
      return () => {}
    }
  }
  expect(giverOf(node, new FakeClock())).toBe(giverOf(node, new FakeClock()))
  expect(handled).toBe(1)
})
