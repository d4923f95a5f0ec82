// A whole adapter in memory as peers tell each other of it: its content id, what it consists of,
// and its parts as bytes. Knows no peers and no files.
import type { BlockSpan } from '../../base/block-span.ts'
import { toHex } from '../../base/bytes.ts'
import { badInput, overLimit } from '../../base/errors.ts'
import type { SpanAdapter } from '../../blocks/adapters/adapter-types.ts'
import { hasOnlyNumbers } from '../../blocks/finite.ts'
import { adapterNumbers, blockNumbers, targetParts } from '../../blocks/train/adapter-shape.ts'
import type { StepAdapter } from '../../blocks/train/train-types.ts'
import type { ModelConfig } from '../../model/types.ts'
import { ADAPTER_DTYPES, adapterCodec } from '../../wire/codec/adapter.ts'
import { encodeMessage } from '../../wire/codec/encode.ts'
import { LIMITS } from '../../wire/protocol.ts'
import type { AdapterManifest, WireDtype } from '../../wire/types.ts'

/** An adapter's numbers, of all blocks. */
export interface AdapterContent {
  readonly lora?: StepAdapter | undefined
  /** (positions, hiddenSize): rows before the tokens' own, which the client sends. */
  readonly prompt?: Float32Array | undefined
  /** (blocks, positions, hiddenSize): added to those rows where they enter a block. */
  readonly deepPrompt?: Float32Array | undefined
}

/** Which model's adapter it is. */
export interface AdapterModel {
  readonly config: ModelConfig
  /** Content id, 32 bytes. */
  readonly contentId: Uint8Array
}

/** What gives an adapter's parts: one that is here, or a peer. */
export interface AdapterSource {
  /** Bytes of the manifest of the adapter with this id in hex. @throws AppError NOT_FOUND */
  manifest(id: string, signal?: AbortSignal): Promise<Uint8Array>
  /** @throws AppError NOT_FOUND */
  part(id: string, place: PartPlace, signal?: AbortSignal): Promise<Uint8Array>
}

/** Which part, and how long it must be. */
export interface PartPlace {
  readonly index: number
  readonly sizeBytes: number
}

export class AdapterPack {
  readonly id: Uint8Array
  /** Hex of `id`. */
  readonly name: string
  readonly manifest: AdapterManifest
  readonly manifestBytes: Uint8Array
  readonly #content: AdapterContent
  readonly #config: ModelConfig

  /** @throws AppError BAD_INPUT, UNSUPPORTED, LIMIT for what does not fit the model */
  constructor(content: AdapterContent, { config, contentId }: AdapterModel) {
    this.#content = content
    this.#config = config
    const positions = checkContent(content, config)
    const dtype = narrowest(content)
    const { blockCount } = config
    const isDeep = content.deepPrompt !== undefined
    const about = { model: contentId, dtype, positions, parts: [] }
    this.manifest = {
      ...about,
      ...(content.lora === undefined ? {} : { shape: content.lora.shape }),
      ...(isDeep ? { deep: true } : {})
    }
    checkManifest(this.manifest, config)
    const count = blockCount + (positions > 0 ? 1 : 0)
    const parts = Array.from({ length: count }, (_, index) => hashOf(this.part(index)))
    this.manifest = { ...this.manifest, parts }
    this.manifestBytes = encodeMessage(adapterCodec, this.manifest)
    this.id = hashOf(this.manifestBytes)
    this.name = toHex(this.id)
  }

  /** Rows before the tokens' own. */
  get prompt(): Float32Array | undefined {
    return this.#content.prompt
  }

  get positions(): number {
    return this.manifest.positions
  }

  /** Bytes of the part of a block, or of the prompt behind them all. */
  part(index: number): Uint8Array {
    const { blockCount } = this.#config
    const { dtype } = this.manifest
    if (index === blockCount) return bytesOf([this.#content.prompt ?? NOTHING], dtype)
    const { lora, deepPrompt } = this.#content
    return bytesOf(
      [slice(lora?.values, index, blockCount), slice(deepPrompt, index, blockCount)],
      dtype
    )
  }
}

/** The source of packs that are here. */
export function packSource(find: (id: string) => AdapterPack | undefined): AdapterSource {
  const of = (id: string): AdapterPack => {
    const pack = find(id)
    if (pack === undefined) throw badInput('No such adapter is here')
    return pack
  }
  return {
    manifest: async (id) => of(id).manifestBytes,
    part: async (id, { index }) => of(id).part(index)
  }
}

/**
 * Whether an adapter is one of this model's, by what it says of itself: nothing was allocated for
 * its parts yet. @throws AppError BAD_INPUT, UNSUPPORTED, LIMIT
 */
export function checkManifest(manifest: AdapterManifest, config: ModelConfig): void {
  const { shape, positions } = manifest
  if (shape !== undefined) targetParts(config, shape)
  if (positions >= config.contextLength) {
    throw overLimit(`An adapter's prompt of ${positions} rows leaves no room: the model ends there`)
  }
  const sizeBytes = partBytes(manifest, config, 0)
  if (sizeBytes > LIMITS.adapterPartBytes) {
    throw overLimit(`An adapter of ${sizeBytes} bytes for each block cannot be used`)
  }
}

/** Bytes of a part. */
export function partBytes(
  { dtype, shape, positions, deep }: AdapterManifest,
  config: ModelConfig,
  index: number
): number {
  const rows = positions * config.hiddenSize
  const each = dtype === 'f32' ? 4 : 2
  if (index === config.blockCount) return rows * each
  const lora = shape === undefined ? 0 : blockNumbers(targetParts(config, shape), shape.rank)
  return (lora + (deep === true ? rows : 0)) * each
}

/** Whether bytes are those of a part. */
export function isPart({ parts }: AdapterManifest, index: number, bytes: Uint8Array): boolean {
  const expected = parts[index]
  return expected !== undefined && Buffer.compare(hashOf(bytes), expected) === 0
}

/** Numbers of the parts of blocks [start, end), put together as they come. */
export class PartsOfSpan {
  readonly #manifest: AdapterManifest
  readonly #lora: Float32Array | undefined
  readonly #deep: Float32Array | undefined
  readonly #blocks: number

  constructor(manifest: AdapterManifest, config: ModelConfig, { start, end }: BlockSpan) {
    this.#manifest = manifest
    this.#blocks = end - start
    const { shape, deep, positions } = manifest
    if (shape !== undefined) {
      const numbers = blockNumbers(targetParts(config, shape), shape.rank)
      this.#lora = new Float32Array(this.#blocks * numbers)
    }
    if (deep === true) this.#deep = new Float32Array(this.#blocks * positions * config.hiddenSize)
  }

  /** @param at the block's number among those of the span */
  add(at: number, bytes: Uint8Array): void {
    const values = floatsFrom(bytes, this.#manifest.dtype)
    const numbers = (this.#lora?.length ?? 0) / this.#blocks
    this.#lora?.set(values.subarray(0, numbers), at * numbers)
    this.#deep?.set(values.subarray(numbers), (at * this.#deep.length) / this.#blocks)
  }

  get adapter(): SpanAdapter {
    const { shape } = this.#manifest
    return {
      ...(shape === undefined || this.#lora === undefined
        ? {}
        : { lora: { shape, values: this.#lora } }),
      ...(this.#deep === undefined ? {} : { prompts: this.#deep })
    }
  }
}

/** Numbers of a part. */
export function floatsFrom(bytes: Uint8Array, dtype: WireDtype): Float32Array {
  const { buffer } = bytes.slice()
  if (dtype === 'f32') return new Float32Array(buffer)
  if (dtype === 'f16') return Float32Array.from(new Float16Array(buffer))
  return new Float32Array(Uint32Array.from(new Uint16Array(buffer), (value) => value << 16).buffer)
}

export function hashOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(new Bun.CryptoHasher('blake2b256').update(bytes).digest())
}

const NOTHING = new Float32Array(0)

/** @returns rows of its prompt */
function checkContent({ lora, prompt, deepPrompt }: AdapterContent, config: ModelConfig): number {
  const { hiddenSize, blockCount } = config
  if (lora !== undefined) {
    const expected = adapterNumbers(config, lora.shape, { start: 0, end: blockCount })
    if (lora.values.length !== expected) {
      throw badInput(
        `An adapter of ${lora.values.length} numbers cannot be used: ${expected} belong`
      )
    }
  }
  const positions = (prompt?.length ?? 0) / hiddenSize
  if (!Number.isInteger(positions) || positions > LIMITS.adapterRows) {
    throw badInput("An adapter cannot be used: its prompt's rows are not as wide as the model")
  }
  if (deepPrompt !== undefined && deepPrompt.length !== blockCount * positions * hiddenSize) {
    throw badInput("An adapter cannot be used: its blocks' prompts have another shape")
  }
  if (lora === undefined && positions === 0)
    throw badInput('An adapter cannot be used: it is empty')
  for (const values of [lora?.values, prompt, deepPrompt]) {
    if (values === undefined || hasOnlyNumbers(values)) continue
    throw badInput('An adapter cannot be used: it has values that are no numbers')
  }
  return positions
}

function slice(values: Float32Array | undefined, index: number, count: number): Float32Array {
  if (values === undefined) return NOTHING
  const each = values.length / count
  return values.subarray(index * each, (index + 1) * each)
}

/** The narrowest type that holds all numbers. */
function narrowest({ lora, prompt, deepPrompt }: AdapterContent): WireDtype {
  const all = [lora?.values, prompt, deepPrompt].flatMap((values) => values ?? [])
  const fits: Readonly<Record<string, (values: Float32Array) => boolean>> = {
    f16: (values) => values.every((value) => Math.f16round(value) === value),
    bf16: (values) => bitsOf(values).every((bits) => (bits & 0xffff) === 0)
  }
  return ADAPTER_DTYPES.find((type) => all.every((values) => fits[type]?.(values) ?? true)) ?? 'f32'
}

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length)
}

function bytesOf(lists: readonly Float32Array[], dtype: WireDtype): Uint8Array {
  const each = dtype === 'f32' ? 4 : 2
  const bytes = new Uint8Array(lists.reduce((sum, { length }) => sum + length * each, 0))
  let at = 0
  for (const values of lists) {
    const own = encoded(values, dtype)
    bytes.set(new Uint8Array(own.buffer, own.byteOffset, own.byteLength), at)
    at += own.byteLength
  }
  return bytes
}

function encoded(
  values: Float32Array,
  dtype: WireDtype
): Float32Array | Float16Array | Uint16Array {
  if (dtype === 'f32') return values
  if (dtype === 'f16') return Float16Array.from(values)
  return Uint16Array.from(bitsOf(values), (bits) => bits >>> 16)
}
