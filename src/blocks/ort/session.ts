// Sessions of onnxruntime: options, a graph with its weights, bindings, and runs that can be
// stopped. Knows names and tensors, no models.
import { ptr, type Pointer } from 'bun:ffi'
import { cstring } from './libc.ts'
import { ORT_LOG_LEVEL, pathString, type OrtRuntime } from './runtime.ts'
import type { OrtTensor } from './value.ts'

export interface SessionSettings {
  /** Threads of the operators, including the calling thread. */
  threads: number
  /** How long idle threads spin before they sleep, µs. Default 100. */
  spinUs?: number
  /** 0 none, 1 basic, 2 extended, 99 all. Default 1: our graphs are fused already. */
  optimisation?: number
  /** Where to write a profile per node when the session is released. */
  profilePrefix?: string
  /** Adds an execution provider, which then holds copies of all weights in its own memory. */
  provider?: (options: Pointer) => void
  /** Further `session.*` entries, for measuring. */
  config?: Readonly<Record<string, string>>
}

export interface SessionParts {
  /** An ONNX model, serialised. */
  model: Uint8Array
  /** Initialisers by name. They must outlive the session. */
  weights: ReadonlyMap<string, OrtTensor>
}

/** Arrays of pointers to names and values, as the C API takes them. */
interface NamedValues {
  names: BigUint64Array
  values: BigUint64Array
  /** Keeps reachable what the pointers point to. */
  keep: unknown
}

export class OrtSession implements Disposable {
  readonly handle: Pointer
  readonly runtime: OrtRuntime
  readonly #parts: SessionParts
  #disposed = false

  /** @throws AppError COMPUTE */
  constructor(runtime: OrtRuntime, parts: SessionParts, settings: SessionSettings) {
    this.runtime = runtime
    // The library keeps pointers to the values, no copies.
    this.#parts = parts
    const options = runtime.make('CreateSessionOptions')
    try {
      configure(runtime, options, settings)
      addWeights(runtime, options, parts.weights, settings.provider !== undefined)
      this.handle = runtime.make(
        'CreateSessionFromArray',
        runtime.env,
        parts.model,
        parts.model.byteLength,
        options
      )
    } finally {
      runtime.release('ReleaseSessionOptions', options)
    }
  }

  /** Runs what is bound. @throws AppError COMPUTE */
  run(binding: OrtBinding): void {
    this.runtime.run('RunWithBinding', this.handle, null, binding.handle)
  }

  /** Number of weights that it keeps reachable, for tests. */
  get weightCount(): number {
    return this.#parts.weights.size
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return
    this.#disposed = true
    this.runtime.release('ReleaseSession', this.handle)
  }
}

/**
 * Inputs and outputs of a session's runs, bound to tensors; one for each state that a session
 * serves.
 */
export class OrtBinding implements Disposable {
  readonly handle: Pointer
  readonly #runtime: OrtRuntime
  /** By slot, so that a tensor stays reachable exactly as long as it is bound. */
  readonly #bound = new Map<string, OrtTensor>()

  constructor(session: OrtSession) {
    this.#runtime = session.runtime
    this.handle = session.runtime.make('CreateIoBinding', session.handle)
  }

  input(name: string, tensor: OrtTensor): void {
    this.#runtime.run('BindInput', this.handle, cstring(name), tensor.handle)
    this.#bound.set(`in:${name}`, tensor)
  }

  output(name: string, tensor: OrtTensor): void {
    this.#runtime.run('BindOutput', this.handle, cstring(name), tensor.handle)
    this.#bound.set(`out:${name}`, tensor)
  }

  [Symbol.dispose](): void {
    this.#runtime.release('ReleaseIoBinding', this.handle)
    this.#bound.clear()
  }
}

/** Shares weights with the library, or has it copy them to a device. */
function addWeights(
  runtime: OrtRuntime,
  options: Pointer,
  weights: ReadonlyMap<string, OrtTensor>,
  toDevice: boolean
): void {
  if (toDevice && weights.size > 0) {
    const { names, values } = namedValues(weights)
    runtime.run('AddExternalInitializers', options, names, values, names.length)
    return
  }
  for (const [name, tensor] of weights) {
    runtime.run('AddInitializer', options, cstring(name), tensor.handle)
  }
}

function namedValues(weights: ReadonlyMap<string, OrtTensor>): NamedValues {
  const keep = [...weights.keys()].map(cstring)
  return {
    names: BigUint64Array.from(keep, (name) => BigInt(ptr(name))),
    values: BigUint64Array.from(weights.values(), (tensor) => BigInt(tensor.handle)),
    keep
  }
}

function configure(runtime: OrtRuntime, options: Pointer, settings: SessionSettings): void {
  runtime.run('SetSessionLogSeverityLevel', options, ORT_LOG_LEVEL.fatal)
  runtime.run('SetIntraOpNumThreads', options, settings.threads)
  runtime.run('SetInterOpNumThreads', options, 1)
  runtime.run('SetSessionGraphOptimizationLevel', options, settings.optimisation ?? 1)
  const config = {
    'session.intra_op.spin_duration_us': String(settings.spinUs ?? 100),
    ...settings.config
  }
  for (const [key, value] of Object.entries(config)) {
    runtime.run('AddSessionConfigEntry', options, cstring(key), cstring(value))
  }
  if (settings.profilePrefix !== undefined) {
    runtime.run('EnableProfiling', options, pathString(settings.profilePrefix))
  }
  if (settings.provider === undefined) return
  settings.provider(options)
  // A node that the device cannot run must be an error; on the CPU it would be a hundred times
  // slower.
  runtime.run(
    'AddSessionConfigEntry',
    options,
    cstring('session.disable_cpu_ep_fallback'),
    cstring('1')
  )
}
