// Where a part's weights are written: a file that is kept, an unnamed file, or memory. Knows bytes
// and disks; weight-store.ts chooses among them and passes the result to the engine.
import { closeSync, fsyncSync, mkdirSync, mkdtempSync, openSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { convertedPath, unfinishedPath } from '../../model/store/converted-cache.ts'
import { dataOffset, Digest, encodeHead, writeExactly } from '../../model/store/converted-format.ts'
import type { TensorSpec } from '../quantise/form.ts'
import type { partKey, PartLayout, WeightSink } from './weight-part.ts'

/** The disk cannot take it; another place may. */
export class DiskTrouble extends Error {}

/** A file with weights from byte `offset` on. Whoever takes it closes it. */
export interface WeightFile {
  readonly descriptor: number
  readonly offset: number
}

/** Checks that a part's tensors are written in order and completely. */
export class LayoutCheck {
  readonly #layout: PartLayout
  #index = -1
  #written = 0

  constructor(layout: PartLayout) {
    this.#layout = layout
  }

  /** Returns where the tensor starts. */
  begin(spec: TensorSpec): number {
    this.#finish()
    const next = this.#layout.tensors[++this.#index]
    if (next?.spec.name !== spec.name) {
      throw new TypeError(`Weight '${spec.name}' came where '${next?.spec.name}' belongs`)
    }
    this.#written = 0
    return next.offset
  }

  write(bytes: number): void {
    this.#written += bytes
    const tensor = this.#layout.tensors[this.#index]
    if (tensor === undefined || this.#written > tensor.sizeBytes) {
      throw new TypeError(`Weight '${tensor?.spec.name}' has more bytes than it should`)
    }
  }

  end(): void {
    this.#finish()
    if (this.#index + 1 !== this.#layout.tensors.length) {
      throw new TypeError(`${this.#index + 1} weights came of ${this.#layout.tensors.length}`)
    }
  }

  #finish(): void {
    const tensor = this.#layout.tensors[this.#index]
    if (tensor !== undefined && this.#written !== tensor.sizeBytes) {
      throw new TypeError(`Weight '${tensor.spec.name}' was not written whole`)
    }
  }
}

/**
 * Writes a part into a file, gaps included: if the disk is full, that must show now and not as a
 * fault when the file is used.
 */
export class FileSink implements WeightSink {
  readonly #file: number
  readonly #start: number
  readonly #layout: PartLayout
  readonly #check: LayoutCheck
  readonly #digest: Digest | undefined
  #at = 0

  constructor(file: number, start: number, layout: PartLayout, digest?: Digest) {
    this.#file = file
    this.#start = start
    this.#layout = layout
    this.#check = new LayoutCheck(layout)
    this.#digest = digest
  }

  begin(spec: TensorSpec): void {
    this.#fillTo(this.#check.begin(spec))
  }

  write(bytes: Uint8Array): void {
    this.#check.write(bytes.byteLength)
    this.#put(bytes)
  }

  end(): void {
    this.#check.end()
    this.#fillTo(this.#layout.sizeBytes)
  }

  #fillTo(offset: number): void {
    if (offset > this.#at) this.#put(new Uint8Array(offset - this.#at))
  }

  #put(bytes: Uint8Array): void {
    onDisk(() => writeExactly(this.#file, bytes, this.#start + this.#at))
    this.#digest?.update(bytes)
    this.#at += bytes.byteLength
  }
}

/** Creates an unnamed file. It disappears with its last mapping, however the process ends. */
export function* writeUnlinked(
  folder: string,
  layout: PartLayout,
  fill: (sink: WeightSink) => Iterable<void>
): Generator<void, WeightFile> {
  const descriptor = onDisk(() => openUnlinked(folder))
  let isDone = false
  try {
    const sink = new FileSink(descriptor, 0, layout)
    yield* fill(sink)
    sink.end()
    isDone = true
    return { descriptor, offset: 0 }
  } finally {
    if (!isDone) closeSync(descriptor)
  }
}

function openUnlinked(folder: string): number {
  mkdirSync(folder, { recursive: true })
  const place = mkdtempSync(join(folder, 'petals-weights-'))
  try {
    return openSync(join(place, 'weights'), 'w+', 0o600)
  } finally {
    rmSync(place, { recursive: true, force: true })
  }
}

/**
 * Creates a file that is kept. It appears under its name complete or not at all, even if the
 * machine crashes.
 */
export function* writeKept(
  folder: string,
  layout: PartLayout,
  named: ReturnType<typeof partKey>,
  fill: (sink: WeightSink) => Iterable<void>
): Generator<void, WeightFile> {
  const { key, name, table } = named
  const aside = unfinishedPath(folder, name)
  const descriptor = onDisk(() => openSync(aside, 'wx+', 0o600))
  let isDone = false
  try {
    const offset = dataOffset(table.byteLength)
    const digest = new Digest(table)
    const sink = new FileSink(descriptor, offset, layout, digest)
    yield* fill(sink)
    sink.end()
    const head = encodeHead({ key, table, dataBytes: layout.sizeBytes, digest: digest.end() })
    onDisk(() => {
      writeExactly(descriptor, head, 0)
      fsyncSync(descriptor)
      renameSync(aside, convertedPath(folder, name))
    })
    isDone = true
    return { descriptor, offset }
  } finally {
    if (!isDone) {
      closeSync(descriptor)
      rmSync(aside, { force: true })
    }
  }
}

function onDisk<T>(work: () => T): T {
  try {
    return work()
  } catch (cause) {
    throw new DiskTrouble((cause as Error).message, { cause })
  }
}
