// Typed access to a GGUF's metadata for one architecture. Knows which tensors there are, not their
// content.
import { corrupt, unsupported } from '../../base/errors.ts'
import type { GgufTensor } from '../formats/gguf-header.ts'
import type { Metadata } from '../formats/gguf-metadata.ts'

/** Typed access to one architecture's keys, and errors that refuse a file. */
export class GgufFacts {
  readonly architecture: string
  /** The model's name for people. */
  readonly name: string
  readonly metadata: Metadata
  readonly tensors: readonly GgufTensor[]
  readonly #used = new Set<string>()

  constructor(facts: {
    architecture: string
    name: string
    metadata: Metadata
    tensors: readonly GgufTensor[]
  }) {
    this.architecture = facts.architecture
    this.name = facts.name
    this.metadata = facts.metadata
    this.tensors = facts.tensors
  }

  /** Value of `key`, which is written without the architecture in front. */
  optional(key: string): number | undefined {
    this.#used.add(key)
    return this.metadata.number(`${this.architecture}.${key}`)
  }

  /** Marks keys as read that do not affect this model. */
  ignore(...keys: readonly string[]): void {
    for (const key of keys) this.#used.add(key)
  }

  /** Keys of the architecture, without its prefix, that were not read. */
  unused(): string[] {
    const prefix = `${this.architecture}.`
    const own = this.metadata.keys().filter((key) => key.startsWith(prefix))
    return own.map((key) => key.slice(prefix.length)).filter((key) => !this.#used.has(key))
  }

  required(key: string): number {
    const value = this.optional(key)
    if (value !== undefined) return value
    throw corrupt(`The GGUF cannot be opened: '${this.architecture}.${key}' is missing`)
  }

  text(key: string): string | undefined {
    this.#used.add(key)
    return this.metadata.string(`${this.architecture}.${key}`)
  }

  tensor(name: string): GgufTensor | undefined {
    return this.tensors.find((tensor) => tensor.name === name)
  }

  refuse(what: string): Error {
    return unsupported(`The model cannot be run: ${what} is not supported yet`)
  }
}
