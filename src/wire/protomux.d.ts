// The part of protomux that link.ts uses; the package has no types of its own.
declare module 'protomux' {
  class Protomux {
    static from(stream: object): Protomux
    /** Null when the stream is destroyed or the channel exists. */
    createChannel(options: Protomux.ChannelOptions): Protomux.Channel | null
  }

  namespace Protomux {
    interface State {
      start: number
      end: number
      buffer: Uint8Array | null
    }

    interface Encoding<T> {
      preencode(state: State, value: T): void
      encode(state: State, value: T): void
      decode(state: State): Uint8Array
    }

    interface Message<T> {
      /** False when the stream holds frames back; the message is queued all the same. */
      send(value: T): boolean
    }

    interface MessageOptions<T> {
      encoding: Encoding<T>
      onmessage: (bytes: Uint8Array) => void
      autoBatch: boolean
    }

    interface Channel {
      open(handshake: unknown): void
      close(): void
      addMessage<T>(options: MessageOptions<T>): Message<T>
    }

    interface ChannelOptions {
      protocol: string
      handshake: Encoding<never>
      onopen: (handshake: Uint8Array) => void
      onclose: () => void
    }
  }

  export = Protomux
}
