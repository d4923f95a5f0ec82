// Tensors of onnxruntime: over our own memory, or from one of its allocators (CPU or device). Every
// handle is released by `Symbol.dispose`; memory that was passed in stays reachable until then.
import { ptr, toArrayBuffer, type Pointer } from 'bun:ffi'
import { cstring } from './libc.ts'
import type { OrtRuntime } from './runtime.ts'

export type ElementType = 'f32' | 'f16' | 'u8' | 'i8' | 'i32' | 'i64'

interface ElementFacts {
  /** Its number in ONNX and in the C API. */
  readonly id: number
  readonly bytes: number
}

export const ELEMENTS: Readonly<Record<ElementType, ElementFacts>> = {
  f32: { id: 1, bytes: 4 },
  u8: { id: 2, bytes: 1 },
  i8: { id: 3, bytes: 1 },
  i32: { id: 6, bytes: 4 },
  i64: { id: 7, bytes: 8 },
  f16: { id: 10, bytes: 2 }
}

/** Bytes of a tensor. */
export function tensorBytes(type: ElementType, dims: readonly number[]): number {
  return dims.reduce((product, size) => product * size, ELEMENTS[type].bytes)
}

/** Memory that our code or the library's allocator owns. */
export interface NativeMemory {
  readonly pointer: Pointer
  readonly sizeBytes: number
  /** Whatever must stay reachable while the memory is in use. */
  readonly keep?: unknown
}

/** An allocator of the library: the CPU's, or a device's, through a session that runs there. */
export class OrtAllocator implements Disposable {
  readonly handle: Pointer
  /** Undefined for memory that this process cannot read, e.g. a GPU's. */
  readonly readable: boolean
  readonly #runtime: OrtRuntime
  readonly #info: Pointer | undefined

  private constructor(runtime: OrtRuntime, handle: Pointer, info?: Pointer) {
    this.#runtime = runtime
    this.handle = handle
    this.#info = info
    this.readable = info === undefined
  }

  static cpu(runtime: OrtRuntime): OrtAllocator {
    return new OrtAllocator(runtime, runtime.make('GetAllocatorWithDefaultOptions'))
  }

  /** `memory` is the provider's name for it, e.g. 'Cuda' or 'WebGPU_Buf'. */
  static device(
    runtime: OrtRuntime,
    session: Pointer,
    memory: string,
    deviceId: number
  ): OrtAllocator {
    const info = runtime.make('CreateMemoryInfo', cstring(memory), 0, deviceId, 0)
    try {
      return new OrtAllocator(runtime, runtime.make('CreateAllocator', session, info), info)
    } catch (error) {
      runtime.release('ReleaseMemoryInfo', info)
      throw error
    }
  }

  [Symbol.dispose](): void {
    if (this.#info === undefined) return
    this.#runtime.release('ReleaseAllocator', this.handle)
    this.#runtime.release('ReleaseMemoryInfo', this.#info)
  }
}

/** One OrtValue that holds a tensor. */
export class OrtTensor implements Disposable {
  readonly handle: Pointer
  readonly type: ElementType
  readonly dims: readonly number[]
  readonly sizeBytes: number
  readonly #runtime: OrtRuntime
  readonly #keep: unknown
  readonly #readable: boolean
  #disposed = false

  private constructor(
    runtime: OrtRuntime,
    handle: Pointer,
    shape: { type: ElementType; dims: readonly number[] },
    memory: { keep: unknown; readable: boolean }
  ) {
    this.#runtime = runtime
    this.handle = handle
    this.type = shape.type
    this.dims = shape.dims
    this.sizeBytes = tensorBytes(shape.type, shape.dims)
    this.#keep = memory.keep
    this.#readable = memory.readable
  }

  /** A tensor over memory that the caller keeps alive through `memory.keep`. */
  static over(
    runtime: OrtRuntime,
    memory: NativeMemory,
    type: ElementType,
    dims: readonly number[]
  ): OrtTensor {
    const size = tensorBytes(type, dims)
    if (size > memory.sizeBytes) {
      throw new RangeError(`A tensor of ${size} bytes does not fit ${memory.sizeBytes}`)
    }
    const handle = runtime.make(
      'CreateTensorWithDataAsOrtValue',
      runtime.cpuMemory,
      memory.pointer,
      size,
      new BigInt64Array(dims.map(BigInt)),
      dims.length,
      ELEMENTS[type].id
    )
    return new OrtTensor(runtime, handle, { type, dims }, { keep: memory.keep, readable: true })
  }

  /** A tensor over a typed array, which stays reachable as long as the tensor. */
  static view(
    runtime: OrtRuntime,
    view: NodeJS.TypedArray,
    type: ElementType,
    dims: readonly number[]
  ): OrtTensor {
    // Read `buffer` first: that moves a small typed array out of the collector's own storage for
    // good.
    const { buffer } = view
    const memory = { pointer: ptr(view), sizeBytes: view.byteLength, keep: [view, buffer] }
    return OrtTensor.over(runtime, memory, type, dims)
  }

  /** A tensor in the library's memory; dispose frees it at once. */
  static allocate(
    runtime: OrtRuntime,
    allocator: OrtAllocator,
    type: ElementType,
    dims: readonly number[]
  ): OrtTensor {
    const handle = runtime.make(
      'CreateTensorAsOrtValue',
      allocator.handle,
      new BigInt64Array(dims.map(BigInt)),
      dims.length,
      ELEMENTS[type].id
    )
    return new OrtTensor(
      runtime,
      handle,
      { type, dims },
      { keep: allocator, readable: allocator.readable }
    )
  }

  /** The memory itself. Never use it after dispose. */
  bytes(): Uint8Array {
    if (this.#disposed) throw new TypeError('A disposed tensor has no memory')
    if (!this.#readable) throw new TypeError('A device tensor cannot be read from here')
    const data = this.#runtime.make('GetTensorMutableData', this.handle)
    return new Uint8Array(toArrayBuffer(data, 0, this.sizeBytes))
  }

  /** Whether memory of ours backs it, for tests. */
  get keepsMemory(): boolean {
    return this.#keep !== undefined
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#runtime.release('ReleaseValue', this.handle)
  }
}
