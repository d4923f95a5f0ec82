// The weights of a span as they are computed with: mapped read-only from files, which are kept
// where the model's content is known and the disk has room. Elsewhere they lie in memory; for
// onnxruntime, which copies them to its device, in files without a name. Knows parts and
// bytes, no models.
import { ptr, toArrayBuffer, type Pointer } from 'bun:ffi'
import { closeSync, readSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { corrupt } from '../../base/errors.ts'
import { dropPages, trimHeap } from '../../base/files/mapped-pages.ts'
import type { ModelLocation } from '../../model/types.ts'
import { KeptWeights } from './kept-weights.ts'
import type { KeepOptions } from '../types.ts'
import type { Reservation } from '../memory-budget.ts'
import { canMap, mapForNative, unmap } from '../../base/files/map-file.ts'
import { DiskTrouble, LayoutCheck, writeUnlinked, type WeightFile } from './weight-file.ts'
import {
  ALIGNMENT,
  layoutOf,
  type PartLayout,
  type PlacedSpec,
  type WeightPart,
  type WeightSink
} from './weight-part.ts'
import { specBytes, type TensorSpec } from '../quantise/form.ts'

export interface WeightStoreOptions {
  /** Folder for unnamed files. Default: the system's folder for temporary files. */
  folder?: string
  /** Default true if the system supports it. */
  mapped?: boolean
  /** Where converted weights are kept. Default: nowhere. */
  keep?: KeepOptions
  /** Called with a sentence about a problem that was worked around. */
  onwarn?: (text: string) => void
}

/** The user of the weights. */
export interface StoreOwner {
  readonly location: ModelLocation
  /**
   * Takes memory for what lies beside the device's copy when the disk has no room. Without it
   * weights are used as they lie, and no files without a name are made.
   * @throws AppError NO_MEMORY
   */
  reserve?(sizeBytes: number): Reservation
}

/** A tensor's values, read-only, valid as long as the store. */
export interface StoredTensor {
  readonly spec: TensorSpec
  /** A multiple of 64 bytes. */
  readonly address: Pointer
  readonly sizeBytes: number
}

/** For tests. */
export function bytesOfStored({ address, sizeBytes }: StoredTensor): Uint8Array {
  return new Uint8Array(toArrayBuffer(address, 0, sizeBytes))
}

interface Mapping {
  readonly at: Pointer
  readonly sizeBytes: number
}

export class WeightStore implements Disposable {
  readonly tensors: Map<string, StoredTensor> = new Map()
  readonly #options: WeightStoreOptions
  readonly #owner: StoreOwner | undefined
  #kept: KeptWeights | undefined
  /** False once its folder has refused a file: all further parts are in memory. */
  #canWrite: boolean
  #sizeBytes = 0
  readonly #mappings: Mapping[] = []
  readonly #owned: Disposable[] = []
  readonly #memory: Uint8Array[] = []

  constructor(options: WeightStoreOptions = {}, owner?: StoreOwner) {
    this.#options = options
    this.#owner = owner
    this.#canWrite = this.#isMapped && this.#isCopied
    const contentId = owner?.location.contentId
    if (options.keep !== undefined && owner !== undefined && contentId !== undefined) {
      this.#kept = new KeptWeights(options.keep, owner.location, contentId)
    }
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /**
   * Finds or makes a part's tensors, with pauses.
   * @throws AppError NO_MEMORY, CORRUPT
   */
  *load(part: WeightPart): Generator<void> {
    const layout = layoutOf(part.specs)
    const onbad = (why: string): void => this.#warn(`${part.name}: ${why}; made again`)
    const found = this.#kept === undefined ? undefined : yield* this.#kept.find(part, onbad)
    if (found !== undefined) this.#take(found, layout)
    else yield* this.#make(part, layout)
    this.#sizeBytes += layout.sizeBytes
  }

  *#make(part: WeightPart, layout: PartLayout): Generator<void> {
    const { folder = tmpdir() } = this.#options
    if (this.#kept !== undefined) {
      try {
        return this.#take(yield* this.#kept.make(part, layout), layout)
      } catch (error) {
        if (!(error instanceof DiskTrouble)) throw error
        this.#warn(`Converted weights are not kept from ${part.name} on: ${error.message}`)
        this.#kept = undefined
      }
    }
    if (this.#canWrite) {
      try {
        const file = yield* writeUnlinked(folder, layout, (sink) => part.make(sink))
        return this.#take(file, layout)
      } catch (error) {
        if (!(error instanceof DiskTrouble)) throw error
        this.#warn(`Weights are held in memory twice from ${part.name} on: ${error.message}`)
        this.#canWrite = false
      }
    }
    yield* this.#fillMemory(part, layout)
  }

  *#fillMemory(part: WeightPart, layout: PartLayout): Generator<void> {
    if (this.#isMapped) {
      const more = this.#owner?.reserve?.(layout.sizeBytes)
      if (more !== undefined) this.#owned.push(more)
    }
    const check = new LayoutCheck(layout)
    let rest: Uint8Array = new Uint8Array(0)
    const sink: WeightSink = {
      begin: (spec) => {
        check.begin(spec)
        rest = this.#allocate(spec)
      },
      write: (bytes) => {
        check.write(bytes.byteLength)
        rest.set(bytes)
        rest = rest.subarray(bytes.byteLength)
      }
    }
    yield* part.make(sink)
    check.end()
  }

  /** Allocates a tensor's memory. */
  #allocate(spec: TensorSpec): Uint8Array {
    const size = specBytes(spec)
    // A small typed array without a buffer of its own would move when it gets one.
    const memory = new Uint8Array(new ArrayBuffer(size + ALIGNMENT))
    const start = Number(ptr(memory))
    const address = Math.ceil(start / ALIGNMENT) * ALIGNMENT
    this.#memory.push(memory)
    this.tensors.set(spec.name, { spec, address: address as Pointer, sizeBytes: size })
    return memory.subarray(address - start, address - start + size)
  }

  /** Creates tensors over a file, and closes it. */
  #take(file: WeightFile, layout: PartLayout): void {
    try {
      if (layout.sizeBytes === 0) return
      if (this.#isMapped) this.#map(file, layout)
      else for (const tensor of layout.tensors) this.#read(file, tensor)
    } finally {
      closeSync(file.descriptor)
    }
  }

  #map({ descriptor, offset }: WeightFile, layout: PartLayout): void {
    const sizeBytes = offset + layout.sizeBytes
    const at = mapForNative(descriptor, sizeBytes)
    this.#mappings.push({ at, sizeBytes })
    for (const { spec, offset: from, sizeBytes: size } of layout.tensors) {
      const address = (at + offset + from) as Pointer
      this.tensors.set(spec.name, { spec, address, sizeBytes: size })
    }
  }

  #read({ descriptor, offset }: WeightFile, tensor: PlacedSpec): void {
    const memory = this.#allocate(tensor.spec)
    for (let done = 0; done < memory.byteLength;) {
      const at = offset + tensor.offset + done
      const count = readSync(descriptor, memory, done, memory.byteLength - done, at)
      if (count === 0) throw corrupt(`Weight '${tensor.spec.name}' cannot be read: it is cut off`)
      done += count
    }
  }

  /** Whether the engine uses a copy of the weights. */
  get #isCopied(): boolean {
    return this.#owner?.reserve !== undefined || this.#owner === undefined
  }

  get #isMapped(): boolean {
    return this.#options.mapped ?? canMap()
  }

  #warn(text: string): void {
    this.#options.onwarn?.(text)
  }

  /** Gives back what only the copy to a device has needed. */
  trim(): void {
    for (const { at, sizeBytes } of this.#mappings) dropPages(at, sizeBytes)
    trimHeap()
  }

  [Symbol.dispose](): void {
    this.tensors.clear()
    this.#memory.length = 0
    for (const owned of this.#owned.splice(0)) owned[Symbol.dispose]()
    for (const { at, sizeBytes } of this.#mappings.splice(0)) unmap(at, sizeBytes)
  }
}
