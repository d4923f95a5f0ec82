// Typed reads of a GGUF header's metadata: absent is undefined, another type is a corrupt file.
import { corrupt } from '../../base/errors.ts'
import type { GgufHeader } from './gguf-header.ts'

export class Metadata {
  readonly #header: GgufHeader

  constructor(header: GgufHeader) {
    this.#header = header
  }

  number(key: string): number | undefined {
    const value = this.#header.metadata.get(key)
    if (value === undefined || typeof value === 'number') return value
    throw corrupt(`The GGUF cannot be opened: '${key}' is no number`)
  }

  string(key: string): string | undefined {
    const value = this.#header.metadata.get(key)
    if (value === undefined || typeof value === 'string') return value
    throw corrupt(`The GGUF cannot be opened: '${key}' is no string`)
  }

  flag(key: string): boolean | undefined {
    const value = this.#header.metadata.get(key)
    if (value === undefined || typeof value === 'boolean') return value
    throw corrupt(`The GGUF cannot be opened: '${key}' is no flag`)
  }

  strings(key: string): string[] | undefined {
    const value = this.#header.metadata.get(key)
    if (value === undefined) return undefined
    if (typeof value === 'object') return value.strings()
    throw corrupt(`The GGUF cannot be opened: '${key}' is no list`)
  }

  numbers(key: string): number[] | undefined {
    const value = this.#header.metadata.get(key)
    if (value === undefined) return undefined
    if (typeof value === 'object') return value.numbers()
    throw corrupt(`The GGUF cannot be opened: '${key}' is no list`)
  }
}
