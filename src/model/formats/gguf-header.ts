// Parses the header of one GGUF file (versions 2 and 3, little endian) into metadata and tensor
// places. Not @huggingface/gguf, because it pads its buffer with zeros past the end of the file, so
// that a truncated header parses as empty strings; it allocates arrays before it knows that the
// bytes are there; and it is asynchronous and decodes 100,000 token strings that the compute worker
// never reads. If only the beginning of a file is here, AbsentBytes says how much more the header
// needs.
import { corrupt, unsupported } from '../../base/errors.ts'
import { AbsentBytes, type MappedFile } from './mapped-file.ts'
import { sizeOf, typeOfGgufId } from './tensor-types.ts'
import type { TensorType } from '../types.ts'

/**
 * Limits on what a file may claim. Every count is checked against the bytes left before it is used.
 */
const MAX_HEADER_BYTES = 2 ** 28 // the largest vocabularies (256k tokens, merges) need 16 MiB
const MAX_KEYS = 65_536 // real files have under 100
const MAX_NAME_BYTES = 1024 // the format: 65,535 for keys, 64 for tensors; real: under 64
const MAX_STRING_BYTES = 2 ** 24 // chat templates have under 100 KiB
const MAX_DIMENSIONS = 4 // as ggml
const MAX_DIMENSION = 2 ** 40 // keeps products of two exact
const MAX_ALIGNMENT = 65_536 // real files have 32

/** Bytes read at a time. Not mapped; lists are read again on demand. */
const PART_BYTES = 2 ** 19

const MAGIC = 0x46554747
const STRING = 8
const ARRAY = 9
/** Bytes of the fixed-size metadata types, by id; strings and arrays have a length of their own. */
const SCALAR_BYTES: readonly (number | undefined)[] = [
  1,
  1,
  2,
  2,
  4,
  4,
  4,
  1,
  undefined,
  undefined,
  8,
  8,
  8
]

/** An array of metadata. Its content is read on demand. */
export interface GgufArray {
  readonly kind: 'array'
  readonly count: number
  /** @throws AppError CORRUPT if it holds no strings. */
  strings(): string[]
  /** @throws AppError CORRUPT if it holds no numbers. */
  numbers(): number[]
}

export type GgufValue = string | number | boolean | GgufArray

export interface GgufTensor {
  readonly name: string
  readonly type: TensorType
  /** Outermost first, the reverse of the file's order. */
  readonly shape: readonly number[]
  /** Bytes from the start of the file. */
  readonly offset: number
  readonly sizeBytes: number
}

export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>
  readonly tensors: readonly GgufTensor[]
}

/** @throws AppError CORRUPT, or UNSUPPORTED for versions and types that we do not read. */
export function parseGgufHeader(file: MappedFile): GgufHeader {
  const reader = new Reader(file)
  if (reader.u32() !== MAGIC) throw reader.bad('it does not begin with GGUF')
  const version = reader.u32()
  if (version !== 2 && version !== 3) {
    const reason = version > 65_535 ? 'it is big endian' : `its version is ${version}`
    throw unsupported(`'${file.path}' cannot be read: ${reason}; 2 and 3 are known`)
  }
  const tensorCount = reader.count(25, 'tensors')
  const keyCount = reader.count(13, 'keys')
  if (keyCount > MAX_KEYS) throw reader.bad(`${keyCount} keys are over the limit ${MAX_KEYS}`)
  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < keyCount; i++) {
    const key = reader.string(MAX_NAME_BYTES)
    if (metadata.has(key)) throw reader.bad(`key '${key}' is there twice`)
    metadata.set(key, reader.value(reader.u32(), 0))
  }
  const alignment = metadata.get('general.alignment') ?? 32
  if (
    typeof alignment !== 'number' ||
    alignment < 1 ||
    alignment > MAX_ALIGNMENT ||
    (alignment & (alignment - 1)) !== 0
  ) {
    throw reader.bad(
      `its alignment '${String(alignment)}' is no power of two up to ${MAX_ALIGNMENT}`
    )
  }
  const claims: Claim[] = []
  for (let i = 0; i < tensorCount; i++) claims.push(reader.tensor())
  const dataOffset = Math.ceil(reader.position / alignment) * alignment
  return { metadata, tensors: placeTensors(file, claims, dataOffset, alignment) }
}

interface Claim {
  name: string
  typeId: number
  shape: number[]
  offset: number
}

/** Turns offsets into places. Refuses tensors outside the file or over another tensor. */
function placeTensors(
  file: MappedFile,
  claims: readonly Claim[],
  dataOffset: number,
  alignment: number
): GgufTensor[] {
  const bad = (name: string, why: string): Error =>
    corrupt(`'${file.path}' cannot be read: tensor '${name}' ${why}`)
  const tensors = claims.map(({ name, typeId, shape, offset }): GgufTensor => {
    const type = typeOfGgufId(typeId)
    if (!type) {
      throw unsupported(`'${file.path}' cannot be read: tensor '${name}' has the type ${typeId}`, {
        hint: 'F32, F16, BF16, Q4_0 to Q8_0, Q2_K to Q6_K, IQ4_NL, IQ4_XS and MXFP4 are known'
      })
    }
    if (offset % alignment !== 0) throw bad(name, `is not aligned to ${alignment}`)
    const sizeBytes = sizeOf(type, shape, name)
    const start = dataOffset + offset
    if (start + sizeBytes > file.sizeBytes) {
      throw bad(name, `ends at ${start + sizeBytes}, past the file's ${file.sizeBytes} bytes`)
    }
    return { name, type, shape, offset: start, sizeBytes }
  })
  const names = new Set<string>()
  let end = 0
  for (const tensor of tensors.toSorted((a, b) => a.offset - b.offset)) {
    if (names.has(tensor.name)) throw bad(tensor.name, 'is there twice')
    names.add(tensor.name)
    if (tensor.offset < end) throw bad(tensor.name, 'lies over another')
    end = tensor.offset + tensor.sizeBytes
  }
  return tensors
}

/** Reads the header forwards and never past the file's end. */
class Reader {
  readonly #file: MappedFile
  readonly #path: string
  /** Where the header must end, whether or not those bytes are here yet. */
  readonly #end: number
  /** The part that is being read; it starts at byte #start. */
  #bytes: Uint8Array = new Uint8Array(0)
  #view = new DataView(this.#bytes.buffer)
  #start = 0
  position = 0

  constructor(file: MappedFile) {
    this.#file = file
    this.#path = file.path
    this.#end = Math.min(file.sizeBytes, MAX_HEADER_BYTES)
  }

  bad(why: string): Error {
    return corrupt(`'${this.#path}' is no good GGUF file: ${why} (at byte ${this.position})`)
  }

  u32(): number {
    const at = this.#take(4)
    return this.#view.getUint32(at, true)
  }

  /** A 64-bit count or offset. */
  u64(): number {
    const at = this.#take(8)
    const value = this.#view.getBigUint64(at, true)
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.bad(`the number ${value} is too large`)
    return Number(value)
  }

  /** A count of items that take at least `least` bytes each. */
  count(least: number, what: string): number {
    const count = this.u64()
    const left = this.#end - this.position
    if (count * least > left)
      throw this.bad(`${count} ${what} do not fit in the ${left} bytes left`)
    return count
  }

  string(limit: number): string {
    const length = this.count(1, 'bytes of a string')
    if (length > limit) throw this.bad(`a string of ${length} bytes is over the limit ${limit}`)
    const at = this.#take(length)
    return decodeUtf8(this.#bytes.subarray(at, at + length))
  }

  value(type: number, depth: number): GgufValue {
    if (type === STRING) return this.string(MAX_STRING_BYTES)
    if (type === ARRAY) return this.#array(depth)
    return this.#scalar(type)
  }

  tensor(): Claim {
    const name = this.string(MAX_NAME_BYTES)
    const dimensions = this.u32()
    if (dimensions < 1 || dimensions > MAX_DIMENSIONS) {
      throw this.bad(`tensor '${name}' has ${dimensions} dimensions`)
    }
    const shape: number[] = []
    for (let i = 0; i < dimensions; i++) {
      const dimension = this.u64()
      if (dimension < 1 || dimension > MAX_DIMENSION) {
        throw this.bad(`tensor '${name}' has a dimension of ${dimension}`)
      }
      shape.unshift(dimension)
    }
    return { name, shape, typeId: this.u32(), offset: this.u64() }
  }

  #array(depth: number): GgufArray {
    if (depth > 1) throw this.bad('arrays are nested too deep')
    const type = this.u32()
    const count = this.count(type === STRING ? 8 : type === ARRAY ? 12 : this.#size(type), 'items')
    const start = this.position
    if (type === STRING) for (let i = 0; i < count; i++) this.#skip(this.count(1, 'bytes'))
    else if (type === ARRAY) for (let i = 0; i < count; i++) this.#array(depth + 1)
    else this.#skip(count * this.#size(type))
    const reread = <T>(fits: boolean, what: string, item: () => T): T[] => {
      if (!fits) throw this.bad(`an array holds no ${what}`)
      this.position = start
      return Array.from({ length: count }, item)
    }
    return {
      kind: 'array',
      count,
      strings: () => reread(type === STRING, 'strings', () => this.string(MAX_STRING_BYTES)),
      numbers: () =>
        reread(type !== STRING && type !== ARRAY, 'numbers', () => Number(this.#scalar(type)))
    }
  }

  #scalar(type: number): number | boolean {
    const size = this.#size(type)
    const at = this.#take(size)
    const view = this.#view
    switch (type) {
      case 0:
        return view.getUint8(at)
      case 1:
        return view.getInt8(at)
      case 2:
        return view.getUint16(at, true)
      case 3:
        return view.getInt16(at, true)
      case 4:
        return view.getUint32(at, true)
      case 5:
        return view.getInt32(at, true)
      case 6:
        return view.getFloat32(at, true)
      case 7:
        return view.getUint8(at) !== 0
      case 10:
        return Number(view.getBigUint64(at, true))
      case 11:
        return Number(view.getBigInt64(at, true))
      case 12:
        return view.getFloat64(at, true)
      default:
        throw this.bad(`the metadata type ${type} is unknown`)
    }
  }

  #size(type: number): number {
    const size = SCALAR_BYTES[type]
    if (size === undefined) throw this.bad(`the metadata type ${type} is unknown`)
    return size
  }

  /** Skips `length` bytes; returns where they are in the current part. */
  #take(length: number): number {
    const at = this.position
    this.#skip(length)
    if (at < this.#start || this.position > this.#start + this.#bytes.byteLength) {
      const ahead = Math.min(Math.max(length, PART_BYTES), this.#file.presentBytes - at)
      this.#start = at
      this.#bytes = this.#file.bytes(at, ahead)
      const { buffer, byteOffset, byteLength } = this.#bytes
      this.#view = new DataView(buffer, byteOffset, byteLength)
    }
    return at - this.#start
  }

  #skip(length: number): void {
    const end = this.position + length
    if (end > this.#end) throw this.bad('it ends too early')
    if (end > this.#file.presentBytes) throw new AbsentBytes(this.#path, end)
    this.position = end
  }
}

/** A token that is only U+FEFF must be kept. */
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
const decodeUtf8 = (bytes: Uint8Array): string => decoder.decode(bytes)
