// The weights of a span as the engine takes them: written to an unlinked file and mapped read-only, so
// that what the kernels have repacked costs no memory, and further graphs find the same weights again.
// Where files cannot be mapped, plain memory takes their place. Knows names and bytes, no models.
import type { Pointer } from 'bun:ffi'
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { noMemory } from '../base/errors.ts'
import { canMap, dropPages, mapFile, unmap } from './ort/libc.ts'
import type { OrtRuntime } from './ort/runtime.ts'
import { OrtAllocator, OrtTensor } from './ort/value.ts'
import type { TensorSpec } from './quantise/form.ts'

/** Kernels read whole cache lines; a page would only waste space in small models. */
const ALIGNMENT = 64

export interface WeightStoreOptions {
  /** Folder for the file. Default: the system's folder for temporary files. */
  folder?: string
  /** Default true where the system can. */
  mapped?: boolean
}

interface Pending {
  readonly spec: TensorSpec
  readonly offset: number
}

export class WeightStore implements Disposable {
  readonly tensors: Map<string, OrtTensor> = new Map()
  readonly #runtime: OrtRuntime
  readonly #pending: Pending[] = []
  #file: number | undefined
  #sizeBytes = 0
  #mapping: Pointer | undefined
  readonly #owners: OrtTensor[] = []

  constructor(runtime: OrtRuntime, options: WeightStoreOptions = {}) {
    const { folder = tmpdir(), mapped = canMap() } = options
    this.#runtime = runtime
    if (mapped) this.#file = openUnlinked(folder)
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** Adds one tensor; `bytes` may be used again afterwards. @throws AppError NO_MEMORY */
  add(spec: TensorSpec, bytes: Uint8Array): void {
    const offset = this.#sizeBytes
    this.#sizeBytes = Math.ceil((offset + bytes.byteLength) / ALIGNMENT) * ALIGNMENT
    if (this.#file === undefined) {
      this.#addInMemory(spec, bytes)
      return
    }
    writeAll(this.#file, bytes, offset, this.#sizeBytes)
    this.#pending.push({ spec, offset })
  }

  /** Weights handed over must be the user's own memory, so the tensor that owns it is not the one given. */
  #addInMemory(spec: TensorSpec, bytes: Uint8Array): void {
    const allocator = OrtAllocator.cpu(this.#runtime)
    const owner = OrtTensor.allocate(this.#runtime, allocator, spec.type, spec.dims)
    this.#owners.push(owner)
    const own = owner.bytes()
    own.set(bytes)
    this.tensors.set(spec.name, OrtTensor.view(this.#runtime, own, spec.type, spec.dims))
  }

  /** Ends the adding; only then are there tensors. */
  seal(): void {
    if (this.#file === undefined || this.#sizeBytes === 0) return
    const mapping = mapFile(this.#file, this.#sizeBytes)
    this.#mapping = mapping
    closeSync(this.#file)
    this.#file = undefined
    for (const { spec, offset } of this.#pending.splice(0)) {
      const memory = {
        pointer: (mapping + offset) as Pointer,
        sizeBytes: this.#sizeBytes - offset,
        keep: this
      }
      this.tensors.set(spec.name, OrtTensor.over(this.#runtime, memory, spec.type, spec.dims))
    }
  }

  /** Gives back the pages that only repacking has read; whatever is still in use comes back by itself. */
  trim(): void {
    if (this.#mapping !== undefined) dropPages(this.#mapping, this.#sizeBytes)
  }

  [Symbol.dispose](): void {
    for (const tensor of this.tensors.values()) tensor[Symbol.dispose]()
    this.tensors.clear()
    for (const owner of this.#owners.splice(0)) owner[Symbol.dispose]()
    if (this.#mapping !== undefined) unmap(this.#mapping, this.#sizeBytes)
    this.#mapping = undefined
    if (this.#file !== undefined) closeSync(this.#file)
    this.#file = undefined
  }
}

/** A file without a name: it is gone with its last mapping, however the process ends. */
function openUnlinked(folder: string): number {
  const place = mkdtempSync(join(folder, 'petals-weights-'))
  try {
    return openSync(join(place, 'weights'), 'w+', 0o600)
  } finally {
    rmSync(place, { recursive: true, force: true })
  }
}

/** Writes `bytes` at `offset` and zeros up to `end`. A full disk must not be found out by a fault. */
function writeAll(file: number, bytes: Uint8Array, offset: number, end: number): void {
  try {
    let done = 0
    while (done < bytes.byteLength) {
      done += writeSync(file, bytes, done, bytes.byteLength - done, offset + done)
    }
    const rest = end - offset - done
    if (rest > 0) writeSync(file, new Uint8Array(rest), 0, rest, offset + done)
  } catch (cause) {
    throw noMemory(`Weights cannot be written: ${end} bytes do not fit the temporary folder`, {
      hint: 'Free space there, set TMPDIR to a folder with more of it, or serve fewer blocks',
      cause
    })
  }
}
