// Follows a reply as a row of blocks, as the Responses and Messages interfaces tell it: each
// begins, grows and ends before the next. Knows no interface's words.
import { reply, type ReplyEnd, type ReplyEvent } from '../../library/text/reply.ts'
import type { RouteNews } from '../../library/text/text-model.ts'
import { collect } from '../../library/text/together.ts'
import type { ChatRequest } from './chat-request.ts'
import type { EndpointContext } from './endpoint.ts'

export type Block =
  | { readonly kind: 'text'; readonly index: number; text: string }
  | { readonly kind: 'reasoning'; readonly index: number; text: string }
  | {
      readonly kind: 'call'
      readonly index: number
      readonly id: string
      readonly name: string
      /** The arguments' JSON. */
      text: string
    }

export interface BlockListener {
  /** Before the first block, or at the end of a reply without any. */
  started?(): void
  began?(block: Block): void
  grew?(block: Block, more: string): void
  ended?(block: Block): void
}

class ReplyBlocks {
  readonly blocks: Block[] = []
  readonly #listener: BlockListener
  #open: Block | undefined
  #isStarted = false

  constructor(listener: BlockListener = {}) {
    this.#listener = listener
  }

  take(event: ReplyEvent): void {
    switch (event.type) {
      case 'text':
      case 'reasoning':
        return this.#grow(this.#textBlock(event.type), event.text)
      case 'tool-start': {
        const { id, name } = event
        this.#begin({ kind: 'call', index: this.blocks.length, id, name, text: '' })
        return
      }
      case 'tool-arguments':
        return this.#open?.kind === 'call' ? this.#grow(this.#open, event.text) : undefined
      case 'tool-end':
        return this.#close()
      default:
        throw new TypeError('No such part of a reply')
    }
  }

  /** The reply has ended. */
  end(): void {
    this.#start()
    this.#close()
  }

  #start(): void {
    if (!this.#isStarted) this.#listener.started?.()
    this.#isStarted = true
  }

  #close(): void {
    if (this.#open) this.#listener.ended?.(this.#open)
    this.#open = undefined
  }

  #textBlock(kind: 'text' | 'reasoning'): Block {
    if (this.#open?.kind === kind) return this.#open
    return this.#begin({ kind, index: this.blocks.length, text: '' })
  }

  #begin(block: Block): Block {
    this.#start()
    this.#close()
    this.blocks.push(block)
    this.#open = block
    this.#listener.began?.(block)
    return block
  }

  #grow(block: Block, more: string): void {
    block.text += more
    this.#listener.grew?.(block, more)
  }
}

/** Makes the reply to a request; its blocks and its end. */
export async function replyBlocks(
  request: ChatRequest,
  { model, abort }: EndpointContext,
  { listener, onnews }: { listener?: BlockListener; onnews?: (news: RouteNews) => void } = {}
): Promise<{ blocks: readonly Block[]; end: ReplyEnd }> {
  const all = new ReplyBlocks(listener)
  const options = { ...request.options(), signal: abort.signal, onnews }
  const end = await collect(reply(model, request.prompt, options), (event) => all.take(event))
  all.end()
  return { blocks: all.blocks, end }
}
