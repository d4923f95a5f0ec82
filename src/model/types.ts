// The model room's interface: facts, tensors by canonical name, the description of a tokenizer.
// Knows no peers and no onnxruntime.

/** Supported architectures; each has facts in model/families and a block in blocks/families. */
export type Family =
  | 'llama'
  | 'mistral'
  | 'qwen2'
  | 'qwen3'
  | 'qwen3moe'
  | 'mixtral'
  | 'gemma2'
  | 'gemma3'
  | 'gpt2'
  | 'bloom'
  | 'falcon'

/** A model's facts, frozen. Every count is an integer over 0. */
export interface ModelConfig {
  readonly family: Family
  /** Name for people, e.g. 'SmolLM2 135M Instruct'. */
  readonly name: string
  readonly hiddenSize: number
  readonly blockCount: number
  readonly headCount: number
  readonly kvHeadCount: number
  readonly headDim: number
  /** Width inside the MLP, or inside one expert. */
  readonly ffnSize: number
  readonly vocabSize: number
  /** Longest session, in tokens. */
  readonly contextLength: number
  readonly ropeTheta: number
  /** Epsilon of every norm, also of layer norms. */
  readonly rmsEps: number
  /** Whether the head is the embedding matrix. */
  readonly tiedEmbedding: boolean

  // Facts that only some models have; absent means that they do not apply.

  /** How positions enter if not by RoPE: added to embeddings, or as a bias of attention. */
  readonly positions?: 'learned' | 'alibi'
  /** Values of each head that RoPE rotates, the first ones; even. Absent: all headDim. */
  readonly rotaryDim?: number
  /**
   * Divisor of each RoPE frequency, (rotaryDim / 2). A tensor `rope_freqs.weight` takes precedence.
   */
  readonly ropeFactors?: readonly number[]
  /** Factor of cosines and sines when frequencies are divided. */
  readonly ropeScale?: number
  /** RoPE base of the blocks with a window; their frequencies are not divided. */
  readonly ropeLocalTheta?: number
  /** Tokens that a query sees in blocks with a window, including its own. */
  readonly window?: number
  /** In a model with a window, every nth block sees all tokens; absent: none does. */
  readonly fullEvery?: number
  /** Factor of query-key products; absent: headDim ** -0.5. */
  readonly attentionScale?: number
  /** Scores become cap * tanh(score / cap). */
  readonly attentionSoftCap?: number
  /** The same for logits. */
  readonly headSoftCap?: number
  /** Factor of embeddings. */
  readonly embeddingScale?: number
  /** The file stores norm weights minus one. */
  readonly normPlusOne?: true
  /** Number of experts in a block; a router picks `expertsPerToken` of them for each token. */
  readonly expertCount?: number
  readonly expertsPerToken?: number
  /** The picked experts' weights are fractions of all experts' weights and do not add up to one. */
  readonly expertSharesOfAll?: true
  /**
   * Attention and MLP read the same stream, through one norm or through one each; absent: in
   * sequence.
   */
  readonly parallelNorms?: 1 | 2
}

/** Element types as GGUF names them; blocks are 32 values (256 for K types and IQ4_XS). */
export type TensorType =
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'Q4_0'
  | 'Q4_1'
  | 'Q5_0'
  | 'Q5_1'
  | 'Q8_0'
  | 'Q2_K'
  | 'Q3_K'
  | 'Q4_K'
  | 'Q5_K'
  | 'Q6_K'
  | 'IQ4_NL'
  | 'IQ4_XS'
  | 'MXFP4'

/**
 * One tensor under its canonical (hub) name, e.g. `model.layers.3.self_attn.q_proj.weight`. Linear
 * weights are (out, in) row-major; q and k rows are in half-split RoPE order whatever the source,
 * those that RoPE leaves alone behind them.
 */
export interface TensorInfo {
  readonly name: string
  readonly type: TensorType
  /** Outermost first: (rows, columns) for a matrix. */
  readonly shape: readonly number[]
  readonly sizeBytes: number
}

export interface TensorStore {
  list(): readonly TensorInfo[]
  /** @throws AppError NOT_FOUND */
  info(name: string): TensorInfo
  has(name: string): boolean
  /**
   * Raw bytes of type `info(name).type`, read-only, mapped if the order of rows allows.
   * @throws AppError NOT_FOUND or CORRUPT
   */
  read(name: string): Uint8Array
  /**
   * Rows [first, first + count) of `read(name)`, without reading the others: an embedding is one
   * row, and where files cannot be mapped the matrix must not be read for each token.
   */
  readRows(name: string, first: number, count: number): Uint8Array
  /** Frees the memory of mapped files; it is read again when needed. */
  release(): void
  close(): void
}

/** What another thread needs to open the same model again; survives structured clone. */
export interface ModelLocation {
  readonly kind: 'gguf' | 'folder' | 'llama2c'
  /**
   * GGUF shards in order; or a folder, with its weights if they are elsewhere; or [checkpoint,
   * tokenizer].
   */
  readonly paths: readonly string[]
  /** In hex, if known: converted weights are kept under it. */
  readonly contentId?: string
}

/** A file with weights, complete or with some chunks. */
export interface WeightFile {
  readonly path: string
  readonly sizeBytes: number
  /** SHA-256 of the whole file as its source claims it, while only some chunks are here. */
  readonly claimedSha256: string | undefined
  bytes(offset: number, length: number): Uint8Array
  /**
   * Fills `into` from `offset` on by reading; works for a file that was written to since.
   * @throws AppError CORRUPT if the file is shorter
   */
  readInto(offset: number, into: Uint8Array): void
  /** Frees the memory of what was read; it is read again when needed. */
  release(): void
}

export interface EnsureOptions {
  signal?: AbortSignal | undefined
  /** `peerBytes` of the finished bytes came from peers. */
  onprogress?: ((progress: FetchedBytes) => void) | undefined
}

export interface FetchedBytes {
  doneBytes: number
  totalBytes: number
  peerBytes: number
}

/** A tokenizer's facts; `createTokenizer` makes a tokenizer of them. */
export interface TokenizerSpec {
  /** `tokenizer.json` as @huggingface/tokenizers reads it. */
  readonly json: object
  /** `tokenizer_config.json` likewise. */
  readonly config: object
  readonly bosId: number | undefined
  /** Generation stops at any of these. */
  readonly eosIds: readonly number[]
  /** Whether a raw prompt begins with BOS. */
  readonly addBos: boolean
}

export interface Model {
  readonly config: ModelConfig
  readonly location: ModelLocation
  readonly tensors: TensorStore
  readonly tokenizer: TokenizerSpec
  /** Jinja source, or undefined if it is no chat model. */
  readonly chatTemplate: string | undefined
  /** The files with the tensors. */
  readonly files: readonly WeightFile[]
  /** 32 bytes: see content-id.ts. */
  readonly contentId: Uint8Array
  /** Bytes of these tensors that are not on this machine yet; 0 for complete files. */
  missingBytes(names: readonly string[]): number
  /**
   * Fetches what is missing of these tensors; does nothing for complete files. Only then may they
   * be read, here and in any thread that opens the location later.
   * @throws AppError NOT_FOUND for an unknown name, or the download's error
   */
  ensure(names: readonly string[], options?: EnsureOptions): Promise<void>
  close(): void
}
