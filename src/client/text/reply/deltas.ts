// Collects the parts of an answer in order, pieces of one kind joined. Parsers and readers of calls
// tell it.
import type { CallSink, ReplyDelta, ReplyTool } from './types.ts'

export class Deltas implements CallSink {
  readonly tools: ReadonlyMap<string, ReplyTool>
  readonly #newId: () => string
  #deltas: ReplyDelta[] = []
  #index = -1

  constructor(tools: readonly ReplyTool[], newId: () => string) {
    this.tools = new Map(tools.map((tool) => [tool.name, tool]))
    this.#newId = newId
  }

  take(): ReplyDelta[] {
    const deltas = this.#deltas
    this.#deltas = []
    return deltas
  }

  text(text: string): void {
    this.#join('text', text)
  }

  reasoning(text: string): void {
    this.#join('reasoning', text)
  }

  start(name: string, id: string = this.#newId()): void {
    this.#index++
    this.#deltas.push({ type: 'tool-start', index: this.#index, id, name })
  }

  arguments(text: string): void {
    const last = this.#deltas.at(-1)
    if (last?.type === 'tool-arguments') {
      this.#deltas[this.#deltas.length - 1] = { ...last, text: last.text + text }
    } else this.#deltas.push({ type: 'tool-arguments', index: this.#index, text })
  }

  end(): void {
    this.#deltas.push({ type: 'tool-end', index: this.#index })
  }

  #join(type: 'text' | 'reasoning', text: string): void {
    if (text === '') return
    const last = this.#deltas.at(-1)
    if (last?.type === type)
      this.#deltas[this.#deltas.length - 1] = { type, text: last.text + text }
    else this.#deltas.push({ type, text })
  }
}
