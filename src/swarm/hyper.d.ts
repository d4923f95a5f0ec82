// The parts of hyperdht, hyperswarm, udx-native and sodium-universal that this room uses; they have
// no types.
declare module 'udx-native' {
  class UDX {
    createSocket(): UDX.Socket
  }

  namespace UDX {
    interface Socket {
      bind(port: number): void
      /** Bytes, as the system states them. */
      getRecvBufferSize(): number
      close(): Promise<void>
    }
  }

  export default UDX
}

declare module 'sodium-universal' {
  export function crypto_generichash(output: Uint8Array, input: Uint8Array, key?: Uint8Array): void
  export function crypto_sign_seed_keypair(
    publicKey: Uint8Array,
    secretKey: Uint8Array,
    seed: Uint8Array
  ): void
  export function crypto_sign_detached(
    signature: Uint8Array,
    message: Uint8Array,
    secretKey: Uint8Array
  ): void
  export function crypto_sign_verify_detached(
    signature: Uint8Array,
    message: Uint8Array,
    publicKey: Uint8Array
  ): boolean
  export function crypto_secretbox_easy(
    cipher: Uint8Array,
    message: Uint8Array,
    nonce: Uint8Array,
    key: Uint8Array
  ): void
  export function crypto_secretbox_open_easy(
    message: Uint8Array,
    cipher: Uint8Array,
    nonce: Uint8Array,
    key: Uint8Array
  ): boolean
}

declare module 'hyperdht' {
  class DHT {
    constructor(options?: DHT.Options)
    static bootstrapper(port: number, host: string, options?: DHT.Options): DHT
    /** Whether its NAT gives every destination another port. */
    readonly randomized: boolean
    readonly destroyed: boolean
    /** Other nodes that it has heard from. */
    readonly nodes: { readonly length: number }
    session(): DHT.Session
    address(): { readonly host: string; readonly port: number }
    fullyBootstrapped(): Promise<void>
    lookup(topic: Uint8Array, options?: DHT.QueryOptions): DHT.Lookup
    mutableGet(key: Uint8Array, options?: DHT.GetOptions): Promise<DHT.MutableRecord | null>
    mutablePut(
      keyPair: DHT.KeyPair,
      value: Uint8Array,
      options?: { seq?: number; signMutable?: () => Uint8Array }
    ): Promise<{ readonly closestNodes: readonly unknown[] }>
    /** Value by its BLAKE2b-256. */
    immutableGet(hash: Uint8Array): Promise<{ readonly value: Uint8Array } | null>
    immutablePut(value: Uint8Array): Promise<{ readonly closestNodes: readonly unknown[] }>
    /** Addresses of nodes that it has heard from, the latest first. */
    toArray(): { readonly host: string; readonly port: number }[]
    ping(
      node: { readonly host: string; readonly port: number },
      options?: { retry?: boolean }
    ): Promise<unknown>
    /** One question to one node, without its answer being believed. */
    request(
      question: { token: null; command: number; target: Uint8Array; value: Uint8Array },
      to: { host: string; port: number },
      options?: { retry?: boolean }
    ): Promise<{ readonly value: Uint8Array | null }>
    /** Looks for nodes near a random one of its table. */
    refresh(): void
    /** Asked in each search as long as its table is small. */
    bootstrapNodes: readonly { readonly host: string; readonly port: number }[]
    connect(key: Uint8Array, options?: DHT.ConnectOptions): DHT.Connection
    destroy(options?: { force?: boolean }): Promise<void>
  }

  namespace DHT {
    interface KeyPair {
      readonly publicKey: Uint8Array
      readonly secretKey: Uint8Array
    }

    interface Options {
      bootstrap?: readonly { readonly host: string; readonly port: number }[]
      nodes?: readonly { readonly host: string; readonly port: number }[]
      keyPair?: KeyPair
      host?: string
      /** A port, or those from the first to before the second; [0, 0] is any. */
      port?: number | readonly [number, number]
      anyPort?: boolean
      ephemeral?: boolean
      firewalled?: boolean
      /** Between two punches through random NATs, ms. */
      randomPunchInterval?: number
    }

    /** Requests that end together. */
    interface Session {
      destroy(): void
    }

    interface QueryOptions {
      session?: Session
    }

    interface GetOptions extends QueryOptions {
      /** Older records are not wanted. */
      seq?: number
      /** False: the first that is valid is enough. */
      latest?: boolean
    }

    interface Lookup extends AsyncIterable<{
      /** The node that answers. */
      readonly from: { readonly host: string; readonly port: number }
      readonly peers: readonly { readonly publicKey: Uint8Array }[]
    }> {
      destroy(): void
    }

    interface MutableRecord {
      readonly seq: number
      readonly value: Uint8Array
      readonly signature: Uint8Array
    }

    interface ConnectOptions {
      keyPair?: KeyPair
      relayThrough?: Uint8Array | null
      /** Asked before NATs are punched, with what the two are (FIREWALL); false gives it up. */
      holepunch?: (remote: number, own: number) => boolean
    }

    interface Connection {
      readonly publicKey: Uint8Array
      readonly remotePublicKey: Uint8Array
      readonly handshakeHash: Uint8Array | null
      readonly isInitiator: boolean
      readonly destroyed: boolean
      readonly keepAlive: number
      readonly rawBytesWritten: number
      readonly rawBytesRead: number
      readonly rawStream: { readonly remoteHost: string | null } | null
      setKeepAlive(ms: number): void
      setTimeout(ms: number): void
      pause(): unknown
      resume(): unknown
      end(): unknown
      destroy(error?: Error): unknown
      on(event: 'open' | 'close' | 'drain' | 'handshake', listener: () => void): unknown
      on(event: 'error', listener: (error: Error & { code?: string }) => void): unknown
      on(event: 'data', listener: (frame: Uint8Array) => void): unknown
      off(event: 'data', listener: (frame: Uint8Array) => void): unknown
      listeners(event: 'data'): ((frame: Uint8Array) => void)[]
    }
  }

  export = DHT
}

declare module 'hyperswarm' {
  import type DHT from 'hyperdht'

  class Hyperswarm {
    constructor(options: Hyperswarm.Options)
    /** Its refresh announces the server's address again. */
    readonly server: { refresh(): void }
    join(topic: Uint8Array, options: { server: boolean; client: boolean }): Hyperswarm.Session
    leave(topic: Uint8Array): Promise<void>
    listen(): Promise<void>
    on(event: 'connection', listener: (connection: DHT.Connection) => void): void
    destroy(options?: { force?: boolean }): Promise<void>
  }

  namespace Hyperswarm {
    interface Options {
      dht: DHT
      keyPair: DHT.KeyPair
      maxPeers?: number
      relayThrough?: Uint8Array
    }

    interface Session {
      /** Resolves when the announcement went out. */
      flushed(): Promise<boolean>
      refresh(options: { server: boolean; client: boolean }): Promise<boolean>
    }
  }

  export = Hyperswarm
}
