// The weights of a span as the engine takes them: mapped read-only from files, so that what the kernels have
// repacked costs no memory, and further graphs find the same weights again. Files are kept where the model's
// content is known and the disk has room, else they have no name; without files, plain memory takes their
// place. Knows parts and bytes, no models.
import type { Pointer } from 'bun:ffi'
import { closeSync, readSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { corrupt } from '../../base/errors.ts'
import { dropPages, trimHeap } from '../../base/mapped-pages.ts'
import type { ModelLocation } from '../../model/types.ts'
import { KeptWeights, type KeepOptions } from './kept-weights.ts'
import type { Reservation } from '../memory-budget.ts'
import { canMap, mapFile, unmap } from '../ort/libc.ts'
import type { OrtRuntime } from '../ort/runtime.ts'
import { OrtAllocator, OrtTensor } from '../ort/value.ts'
import { DiskTrouble, LayoutCheck, writeUnlinked, type WeightFile } from './weight-file.ts'
import {
  layoutOf,
  type PartLayout,
  type PlacedSpec,
  type WeightPart,
  type WeightSink
} from './weight-part.ts'
import type { TensorSpec } from '../quantise/form.ts'

export interface WeightStoreOptions {
  /** Folder for files without a name. Default: the system's for temporary files. */
  folder?: string
  /** Default true where the system can. */
  mapped?: boolean
  /** Where converted weights are kept. Default: nowhere. */
  keep?: KeepOptions
  /** Told, in a sentence, what went wrong and was got round. */
  onwarn?: (text: string) => void
}

/** Whose weights they are. */
export interface StoreOwner {
  readonly location: ModelLocation
  /** Takes memory beyond what weights need once repacked, when the disk has no room. @throws AppError NO_MEMORY */
  reserve(sizeBytes: number): Reservation
}

interface Mapping {
  readonly at: Pointer
  readonly sizeBytes: number
}

export class WeightStore implements Disposable {
  readonly tensors: Map<string, OrtTensor> = new Map()
  readonly #runtime: OrtRuntime
  readonly #options: WeightStoreOptions
  readonly #owner: StoreOwner | undefined
  #kept: KeptWeights | undefined
  /** False when its folder took no file: then all further parts lie in memory. */
  #canWrite: boolean
  #sizeBytes = 0
  readonly #mappings: Mapping[] = []
  readonly #owned: Disposable[] = []

  constructor(runtime: OrtRuntime, options: WeightStoreOptions = {}, owner?: StoreOwner) {
    this.#runtime = runtime
    this.#options = options
    this.#owner = owner
    this.#canWrite = this.#isMapped
    const contentId = owner?.location.contentId
    if (options.keep !== undefined && owner !== undefined && contentId !== undefined) {
      this.#kept = new KeptWeights(options.keep, owner.location, contentId)
    }
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** Finds or makes a part's tensors, and pauses now and then. @throws AppError NO_MEMORY, CORRUPT */
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
    if (this.#isMapped && this.#owner !== undefined) {
      this.#owned.push(this.#owner.reserve(layout.sizeBytes))
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

  /** Memory of a tensor. What is handed over must be the user's own, so the owner is not the one given. */
  #allocate(spec: TensorSpec): Uint8Array {
    const allocator = OrtAllocator.cpu(this.#runtime)
    const owner = OrtTensor.allocate(this.#runtime, allocator, spec.type, spec.dims)
    this.#owned.push(owner)
    const memory = owner.bytes()
    this.tensors.set(spec.name, OrtTensor.view(this.#runtime, memory, spec.type, spec.dims))
    return memory
  }

  /** Makes tensors of a file, and closes it. */
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
    const at = mapFile(descriptor, sizeBytes)
    this.#mappings.push({ at, sizeBytes })
    for (const tensor of layout.tensors) {
      const start = offset + tensor.offset
      const memory = {
        pointer: (at + start) as Pointer,
        sizeBytes: sizeBytes - start,
        keep: this
      }
      const { name, type, dims } = tensor.spec
      this.tensors.set(name, OrtTensor.over(this.#runtime, memory, type, dims))
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

  get #isMapped(): boolean {
    return this.#options.mapped ?? canMap()
  }

  #warn(text: string): void {
    this.#options.onwarn?.(text)
  }

  /** Gives back what only repacking has needed; pages that are still in use come back by themselves. */
  trim(): void {
    for (const { at, sizeBytes } of this.#mappings) dropPages(at, sizeBytes)
    trimHeap()
  }

  [Symbol.dispose](): void {
    for (const tensor of this.tensors.values()) tensor[Symbol.dispose]()
    this.tensors.clear()
    for (const owned of this.#owned.splice(0)) owned[Symbol.dispose]()
    for (const { at, sizeBytes } of this.#mappings.splice(0)) unmap(at, sizeBytes)
  }
}
