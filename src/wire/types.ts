// The wire's messages as records; codec/ turns them into bytes and back. Knows no onnxruntime and
// no DHT.
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

/** How busy a server is; part of every reply, so that routing needs no other traffic. */
export interface ServerStatus {
  /** Steps waiting. */
  readonly queue: number
  /** KV tokens that a new session could get now. */
  readonly freeTokens: number
  /** Engine time of this step, ms (0 outside a step). */
  readonly computeMs: number
  /** Time this step waited, ms. */
  readonly queueMs: number
  /** In pongs: tokens of trainings computed since the server began, each way. Absent: none. */
  readonly trained?: number
}

/** What a server says about one span; published signed in the DHT and repeated in hello. */
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
  /** Wall clock, ms: when it was issued and until when it is valid. */
  readonly issuedAt: number
  readonly expiresAt: number
  /** Round trips to servers that may come next in a route. */
  readonly pings: readonly { readonly peer: Uint8Array; readonly ms: number }[]
  /** Where it will serve instead, soon; a server that plans this is draining. */
  readonly next?: NextSpan
  /** It does not move to other blocks, whatever the swarm needs. */
  readonly fixed?: boolean
  /** Name and version of its arithmetic ('petals-1'); absent when it computes with another one. */
  readonly arithmetic?: string
  /**
   * It serves sessions with adapters; these are beginnings, 8 bytes each, of the ids of adapters
   * that it has been given for everybody. Absent: it cannot use adapters.
   */
  readonly adapters?: readonly Uint8Array[]
  /** It takes no steps of trainings: its device cannot, or whoever runs it does not want it. */
  readonly noTraining?: boolean
}

/** Where a server is moving, so that no other server goes there too. */
export interface NextSpan extends BlockSpan {
  /** When it expects to serve there, counted from issuedAt, ms. */
  readonly inMs: number
  /** It no longer serves the old blocks (or never served any): it is loading. */
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
   * Why this end refuses the link. Nothing follows, and nothing else in the hello counts.
   */
  readonly refusal?: WireError
}

/** One of the next servers of a step. */
export interface Hop extends BlockSpan {
  readonly peer: Uint8Array
}

/** A prefix of a session: its length in tokens, and a label that only those entitled to it know. */
export interface PrefixMark {
  readonly length: number
  /** 16 bytes. */
  readonly label: Uint8Array
}

export interface OpenSession extends BlockSpan {
  /** 16 random bytes that the client chose; they are the right to use the session. */
  readonly session: Uint8Array
  readonly model: Uint8Array
  /** The longest length that the client will ask for, in tokens: admission is decided by it. */
  readonly maxTokens: number
  /** Prefixes of the session's input, one of which the server may hold already. */
  readonly prefix?: readonly PrefixMark[]
  /**
   * Keep nothing of this session, and drop what is kept of earlier ones that begin like it.
   */
  readonly forget?: boolean
  /** Adapters that the session runs with, in the order in which they add. Default: none. */
  readonly adapters?: readonly WireAdapter[]
}

/** An adapter of a session, and the factor of what it adds. */
export interface WireAdapter {
  /** Its content id, 32 bytes: see AdapterManifest. */
  readonly id: Uint8Array
  readonly weight: number
}

/**
 * What an adapter consists of. Its content id is the BLAKE2b-256 of this record as it is written,
 * so that whoever has it can check each part alone.
 */
export interface AdapterManifest {
  /** The model that it belongs to. */
  readonly model: Uint8Array
  /** How numbers of parts are written. */
  readonly dtype: WireDtype
  /** Rows of its prompt; 0: it has none. */
  readonly positions: number
  /** BLAKE2b-256 of each block's part, then of the prompt if there is one. */
  readonly parts: readonly Uint8Array[]
  /** Of its low-rank additions, if it has any. */
  readonly shape?: WireAdapterShape
  /** Each block has rows of its own that are added at the prompt's positions. */
  readonly deep?: boolean
}

export interface SessionOpened {
  readonly session: Uint8Array
  readonly status: ServerStatus
  /** Tokens that the session holds already: one of the requested lengths. Default 0. */
  readonly held?: number
  /** The session runs with the adapters that were asked for. */
  readonly adapted?: boolean
}

export type StepKind = 'forward' | 'stateless' | 'backward'

export interface Step {
  readonly session: Uint8Array
  /** Counts up, set by the client; a repeated number is a duplicate. */
  readonly step: number
  readonly kind: StepKind
  /** The KV is cut to this position first. */
  readonly start: number
  readonly count: number
  /** What is left of the client's time limit, ms. */
  readonly deadlineMs: number
  /** The servers after this one; empty: the answer goes to the client. */
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
   * Each server sends the client a copy of its output, so that the client can replace any one of
   * them.
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
  /**
   * The block after the last one that was computed: less than the route's end when a push failed.
   */
  readonly end: number
  /** One entry for each server passed, in order. */
  readonly trace: readonly StepTrace[]
  readonly tensor: WireTensor
  readonly receipt?: Uint8Array
}

/** A failure, with a code, of a step, of an opening (step -1) or of the connection (no session). */
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
  /** Steps up to and including this one are no longer wanted. */
  readonly step: number
}

/** Labels under which the session's KV may be kept when it ends. */
export interface KeepPrefix {
  readonly session: Uint8Array
  /** The client's last step: the marks describe what the session holds after it. */
  readonly step: number
  readonly marks: readonly PrefixMark[]
  /** Marks for everybody who knows the label and its maker. */
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

/**
 * Sent while connected: a peer's spans are now these (its load, draining; empty when it leaves).
 */
export interface Announce {
  readonly servers: readonly ServerInfo[]
  /** A private swarm's newest list of revoked invites, opaque here. */
  readonly revocations?: Uint8Array
}

/** A piece of a training call, in order. */
export interface Tune {
  /** Chosen by the caller: a number without an unanswered call. */
  readonly request: number
  /** Bytes that follow in later pieces. */
  readonly left: number
  readonly data: Uint8Array
  /** The call is no longer wanted; nothing else in the message counts. */
  readonly cancel?: boolean
}

/** A piece of a training call's answer, in order, or why there is none. */
export interface Tuned {
  readonly request: number
  readonly left: number
  readonly data: Uint8Array
  readonly failure?: WireError
}

export const TUNE_KINDS = ['forward', 'backward', 'adapter'] as const
export type TuneKind = (typeof TUNE_KINDS)[number]

export interface WireAdapterShape {
  readonly rank: number
  readonly scale: number
  readonly targets: readonly string[]
}

/** A training call; floats are bytes as they are written. */
export interface TuneCall extends BlockSpan {
  readonly kind: TuneKind
  readonly model: Uint8Array
  readonly deadlineMs: number
  readonly lengths?: readonly number[]
  readonly hidden?: Uint8Array
  readonly gradient?: Uint8Array
  readonly prompts?: Uint8Array
  /** Id of an adapter that the server was given. */
  readonly adapter?: Uint8Array
  readonly shape?: WireAdapterShape
  readonly values?: Uint8Array
  readonly dropout?: WireDropout
}

/** What an adapter does not read: a share of the values, by a seed for each sequence. */
export interface WireDropout {
  readonly share: number
  readonly seeds: readonly number[]
}

export interface TuneAnswer {
  readonly hidden: Uint8Array
  readonly status: ServerStatus
  readonly adapterGradient?: Uint8Array
  readonly promptGradient?: Uint8Array
}

/** The kinds of request about weights, by their number on the wire. */
export const WANTS = ['catalogue', 'holding', 'hashes', 'bytes', 'adapter', 'adapter-part'] as const

/** A request about weights; answered by gives with the same number. */
export interface Want {
  /** Chosen by the peer that asks: a number without an unanswered request. */
  readonly request: number
  /** Index in WANTS; other numbers are refused. */
  readonly what: number
  /** A name of the model (catalogue), hex of a file's SHA-256, or hex of an adapter's id. */
  readonly name: string
  /** First chunk (hashes) or byte (bytes); number of a part. */
  readonly start: number
  /** Chunks or bytes, of a part all; 0 for a catalogue, a holding or an adapter. */
  readonly count: number
}

/** A piece of an answer, in order, or the reason why there is none. */
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

/** The files of a model, as a peer claims them. */
export interface Catalogue {
  /** Its content id. */
  readonly model: Uint8Array
  readonly kind: 'gguf' | 'folder'
  readonly small: readonly CataloguedFile[]
  /** In order. */
  readonly weights: readonly CataloguedFile[]
  /** Known from other peers only: one more peer that says it proves nothing. */
  readonly isUnverified?: true
}

/**
 * The chunks of a file that a peer has, and those among them that it did not get from another peer.
 */
export interface Holding {
  readonly sizeBytes: number
  readonly chunkBytes: number
  /** It has the whole file and has checked it: no bits are sent. */
  readonly isWhole: boolean
  /** A bit for each chunk, the lowest first. */
  readonly held: Uint8Array
  readonly vouched: Uint8Array
  /** The root of a whole file's manifest. */
  readonly root?: Uint8Array
}
