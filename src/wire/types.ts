// The wire's messages as records; codec/ turns them into bytes and back.
// Knows no onnxruntime and no DHT.
import type { BlockSpan } from '../base/block-span.ts'
import type { ErrorCode } from '../base/errors.ts'

export type WireDtype = 'f32' | 'f16' | 'bf16' | 'int8'

/** Activations on the wire: `rows` of `columns` values; int8 carries an f32 scale per 64 values. */
export interface WireTensor {
  readonly dtype: WireDtype
  readonly rows: number
  readonly columns: number
  /**
   * Encoded values, little-endian, a view into the received frame or ready to be written to one.
   */
  readonly data: Uint8Array
}

/** How busy a server is; in every reply, so that routing needs no other traffic. */
export interface ServerStatus {
  /** Steps waiting. */
  readonly queue: number
  /** KV tokens that a new session could still get. */
  readonly freeTokens: number
  /** Engine time of this step, ms (0 outside a step). */
  readonly computeMs: number
  /** Time this step waited, ms. */
  readonly queueMs: number
}

/** What one server says of one span; published signed in the DHT and repeated in hello. */
export interface ServerInfo extends BlockSpan {
  /** The server's Noise public key, 32 bytes. */
  readonly peer: Uint8Array
  /** The model's content id, 32 bytes. */
  readonly model: Uint8Array
  /** For people, at most 128 bytes of UTF-8. */
  readonly modelName: string
  readonly blockCount: number
  readonly hiddenSize: number
  readonly quant: string
  /** Blocks times tokens a second this server forwards when decoding, measured. */
  readonly throughput: number
  /** Blocks times tokens a second at prefill, measured; 0 when unknown. */
  readonly prefillThroughput: number
  readonly maxTokens: number
  readonly freeTokens: number
  readonly version: string
  readonly draining: boolean
  /** Wall clock, ms: when it was made and until when it may be believed. */
  readonly issuedAt: number
  readonly expiresAt: number
  /** Round trips to likely successors. */
  readonly pings: readonly { readonly peer: Uint8Array; readonly ms: number }[]
  /** Where it is about to serve instead; a server with such plans drains. */
  readonly next?: NextSpan
  /** It does not move to other blocks, whatever the swarm needs. */
  readonly fixed?: boolean
  /** Name and version of the arithmetic that it computes with ('petals-1'); absent: another. */
  readonly arithmetic?: string
}

/** What a server is moving to, so that nobody else goes there too. */
export interface NextSpan extends BlockSpan {
  /** When it expects to serve it, from issuedAt on, ms. */
  readonly inMs: number
  /** It serves the old blocks no more (or never served any): now it loads. */
  readonly left: boolean
}

export interface Hello {
  readonly version: number
  /** 'petals/0.1.0 (linux x64)', for people. */
  readonly agent: string
  /** Wire dtypes that this end understands. */
  readonly dtypes: readonly WireDtype[]
  /** Spans that this end serves; empty for a client. */
  readonly servers: readonly ServerInfo[]
  /** Proof of membership in a private swarm, opaque here. */
  readonly proof?: Uint8Array
  /**
   * Instead of a link: why there is none. Nothing follows, and nothing else in the hello counts.
   */
  readonly refusal?: WireError
}

/** A next station of a step. */
export interface Hop extends BlockSpan {
  readonly peer: Uint8Array
}

/** A prefix of a session: so many tokens, under a label that only who may use it knows. */
export interface PrefixMark {
  readonly length: number
  /** 16 bytes. */
  readonly label: Uint8Array
}

export interface OpenSession extends BlockSpan {
  /** 16 random bytes of the client's choice: who knows them may use the session. */
  readonly session: Uint8Array
  readonly model: Uint8Array
  /** Longest length the client will ask for, in tokens: admission is by this. */
  readonly maxTokens: number
  /** Prefixes of what the session will be fed, of which the server may hold one already. */
  readonly prefix?: readonly PrefixMark[]
  /**
   * Keep nothing of this session, and no longer what is kept of earlier ones that begin like it.
   */
  readonly forget?: boolean
}

export interface SessionOpened {
  readonly session: Uint8Array
  readonly status: ServerStatus
  /** Tokens that the session holds already; one of the lengths asked for. Default 0. */
  readonly held?: number
}

export type StepKind = 'forward' | 'stateless' | 'backward'

export interface Step {
  readonly session: Uint8Array
  /** Counts up by the client; a repeated number is a duplicate. */
  readonly step: number
  readonly kind: StepKind
  /** KV is cut to this position first. */
  readonly start: number
  readonly count: number
  /** What is left of the client's patience, ms. */
  readonly deadlineMs: number
  /** Servers after this one; empty: answer the client. */
  readonly route: readonly Hop[]
  readonly tensor: WireTensor
  /** Trained per-block prompts (issue on fine-tuning), opaque until then. */
  readonly prompts?: WireTensor
  readonly adapter?: string
  /** Ask for a signed receipt. */
  readonly receipt?: boolean
  /** Only this many last rows of the final answer are wanted (a prompt needs one). Default: all. */
  readonly answerRows?: number
  /**
   * Each server also sends what it passes on to the client, who can then replace any one of them.
   */
  readonly mirror?: boolean
}

export interface StepTrace {
  readonly peer: Uint8Array
  readonly status: ServerStatus
}

export interface StepResult {
  readonly session: Uint8Array
  readonly step: number
  readonly start: number
  readonly count: number
  /** Block after the last one computed: less than the route's end when a push failed. */
  readonly end: number
  /** One entry per server passed, in order. */
  readonly trace: readonly StepTrace[]
  readonly tensor: WireTensor
  readonly receipt?: Uint8Array
}

/** A coded failure of a step, of an opening (step -1) or of the connection (session empty). */
export interface WireError {
  readonly session: Uint8Array
  readonly step: number
  readonly code: ErrorCode | 'UNKNOWN'
  readonly message: string
  readonly retryable: boolean
  readonly retryAfterMs: number
  readonly status: ServerStatus
}

export interface CancelStep {
  readonly session: Uint8Array
  /** Steps up to and including this one are not wanted any more. */
  readonly step: number
}

/** Under which labels the session's KV may be kept when it ends. */
export interface KeepPrefix {
  readonly session: Uint8Array
  /** The client's last step: the marks speak of what the session holds after it. */
  readonly step: number
  readonly marks: readonly PrefixMark[]
  /** For everybody who knows label and maker. */
  readonly shared?: readonly PrefixMark[]
}

export interface CloseSession {
  readonly session: Uint8Array
}

export interface Ping {
  readonly nonce: number
}

export interface Pong {
  readonly nonce: number
  readonly status: ServerStatus
}

/** A peer's new view of its spans while connected: load, draining, leaving (empty). */
export interface Announce {
  readonly servers: readonly ServerInfo[]
  /** A private swarm's newest list of revoked invites, opaque here. */
  readonly revocations?: Uint8Array
}

/** What a peer can be asked of its weights, by its number on the wire. */
export const WANTS = ['catalogue', 'holding', 'hashes', 'bytes'] as const

/** A question about weights; answered by gives of the same number. */
export interface Want {
  /** Of the asker's choice: not one that is under way. */
  readonly request: number
  /** Index in WANTS; another is refused. */
  readonly what: number
  /** What the model is called (catalogue), or hex of a file's SHA-256. */
  readonly name: string
  /** First chunk (hashes) or byte (bytes). */
  readonly start: number
  /** Chunks or bytes; 0 for a catalogue or a holding. */
  readonly count: number
}

/** A piece of an answer, in order; or why there is none. */
export interface Give {
  readonly request: number
  /** Bytes that follow in later gives. */
  readonly left: number
  readonly data: Uint8Array
  readonly refused?: ErrorCode
}

export interface CataloguedFile {
  readonly path: string
  readonly sizeBytes: number
  readonly sha256: Uint8Array
}

/** What a peer says that a model is made of. */
export interface Catalogue {
  /** Its content id. */
  readonly model: Uint8Array
  readonly kind: 'gguf' | 'folder'
  readonly small: readonly CataloguedFile[]
  /** In order. */
  readonly weights: readonly CataloguedFile[]
  /** It is what other peers said: one more who says it proves nothing. */
  readonly isHeard?: true
}

/** Which chunks of a file a peer has, and which of them it had from no other peer. */
export interface Holding {
  readonly sizeBytes: number
  readonly chunkBytes: number
  /** All of it is there and was checked: no bits are sent. */
  readonly isWhole: boolean
  /** A bit for each chunk, the lowest first. */
  readonly held: Uint8Array
  readonly vouched: Uint8Array
  /** Of a whole file's manifest. */
  readonly root?: Uint8Array
}
