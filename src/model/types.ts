// What a model is to the rest of the house: facts, tensors by canonical name, a tokenizer's
// description. Knows no network of peers and no onnxruntime.

/**
 * Architectures whose facts we know; each has facts in model/families and a graph in
 * blocks/families.
 */
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

/** Frozen facts of a model; every count is an integer over 0. */
export interface ModelConfig {
  readonly family: Family
  /** Human name, e.g. 'SmolLM2 135M Instruct'. */
  readonly name: string
  readonly hiddenSize: number
  readonly blockCount: number
  readonly headCount: number
  readonly kvHeadCount: number
  readonly headDim: number
  /** Width inside the MLP; of one expert where there are several. */
  readonly ffnSize: number
  readonly vocabSize: number
  /** Longest session, in tokens. */
  readonly contextLength: number
  readonly ropeTheta: number
  /** Epsilon of every norm, those that subtract the mean included. */
  readonly rmsEps: number
  /** The head is the embedding matrix. */
  readonly tiedEmbedding: boolean

  // What only some models have; absent means that it is not so.

  /** How positions enter when not by RoPE: as rows added to embeddings, or as attention's bias. */
  readonly positions?: 'learned' | 'alibi'
  /**
   * What each RoPE frequency is divided by, (headDim / 2); a tensor `rope_freqs.weight` goes before
   * it.
   */
  readonly ropeFactors?: readonly number[]
  /** What cosines and sines are multiplied by, where frequencies are divided. */
  readonly ropeScale?: number
  /** RoPE base of the blocks that see a window only; their frequencies are not divided. */
  readonly ropeLocalTheta?: number
  /** Tokens that a query sees, its own included, in blocks with a window. */
  readonly window?: number
  /** Each nth block of a model with a window sees everything; absent: none does. */
  readonly fullEvery?: number
  /** What a query's product with a key is multiplied by; absent: headDim ** -0.5. */
  readonly attentionScale?: number
  /** Scores become cap * tanh(score / cap). */
  readonly attentionSoftCap?: number
  /** The same for logits. */
  readonly headSoftCap?: number
  /** What embeddings are multiplied by. */
  readonly embeddingScale?: number
  /** The file's norm weights are less by one than what is multiplied. */
  readonly normPlusOne?: true
  /** MLPs of a block, of which a router picks `expertsPerToken` for each token. */
  readonly expertCount?: number
  readonly expertsPerToken?: number
  /** The weights of the experts picked are shares of all experts and do not add up to one. */
  readonly expertSharesOfAll?: true
  /**
   * Attention and MLP read the same stream, through one norm or one each; absent: one after the
   * other.
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
 * weights are (out, in) row-major; q and k rows are in half-split RoPE order whatever the source.
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
   * Raw bytes in `info(name).type`, read-only, memory-mapped where the source's order allows.
   * @throws AppError NOT_FOUND or CORRUPT
   */
  read(name: string): Uint8Array
  /**
   * Rows [first, first + count) of `read(name)`, without touching the others: an embedding is one
   * row, and where files cannot be mapped the matrix must not be read for each token.
   */
  readRows(name: string, first: number, count: number): Uint8Array
  /** Gives back what mapped files hold of memory; it is read again when it is needed. */
  release(): void
  close(): void
}

/** What another thread needs to open the same model again; survives structured clone. */
export interface ModelLocation {
  readonly kind: 'gguf' | 'folder' | 'llama2c'
  /**
   * GGUF shards in order; a folder, and its weights where they lie elsewhere; or [checkpoint,
   * tokenizer].
   */
  readonly paths: readonly string[]
  /** In hex, once it was found out: what was converted of the model is kept under it. */
  readonly contentId?: string
}

/** A file with weights, or some chunks of it. */
export interface WeightFile {
  readonly path: string
  readonly sizeBytes: number
  /** The whole file's SHA-256 as its source claims it, while only some chunks are here. */
  readonly claimedSha256: string | undefined
  bytes(offset: number, length: number): Uint8Array
  /**
   * Fills `into` from `offset` on, by reading: also of a file that was written to since it was
   * opened.
   * @throws AppError CORRUPT when it has other bytes in number
   */
  readInto(offset: number, into: Uint8Array): void
  /** Gives back the memory of what was read; it is read again when it is needed. */
  release(): void
}

export interface EnsureOptions {
  signal?: AbortSignal | undefined
  /** `peerBytes` of those that are done came from peers. */
  onprogress?: ((progress: FetchedBytes) => void) | undefined
}

export interface FetchedBytes {
  doneBytes: number
  totalBytes: number
  peerBytes: number
}

/** The tokenizer's own facts; `createTokenizer` turns them into something that encodes. */
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
  /** Jinja source, or undefined when the model is no chat model. */
  readonly chatTemplate: string | undefined
  /** What holds the tensors. */
  readonly files: readonly WeightFile[]
  /** 32 bytes: see content-id.ts. */
  readonly contentId: Uint8Array
  /** Bytes of these tensors that are not on this machine yet; 0 for whole files. */
  missingBytes(names: readonly string[]): number
  /**
   * Fetches what of these tensors is not on this machine yet; nothing to do for whole files. Only
   * then may they be read, here and in any thread that opens the location afterwards.
   * @throws AppError NOT_FOUND for an unknown name, or as a download fails
   */
  ensure(names: readonly string[], options?: EnsureOptions): Promise<void>
  close(): void
}
