// Typed access to a hub folder's config.json. Knows no families.
import { corrupt, unsupported } from '../../base/errors.ts'
import { type JsonObject, numberOf } from '../formats/json-file.ts'

/** Typed access to a config.json, and errors that refuse one. */
export class HubFacts {
  readonly json: JsonObject
  /** The model's name for people. */
  readonly name: string

  /** @throws AppError UNSUPPORTED for quantised weights in their own format */
  constructor(json: JsonObject, name: string) {
    this.json = json
    this.name = name
    if (json['quantization_config']) throw this.refuse('a quantised folder')
  }

  /** The first of `keys` that is present. */
  optional(...keys: readonly string[]): number | undefined {
    for (const key of keys) {
      const value = numberOf(this.json, key)
      if (value !== undefined) return value
    }
    return undefined
  }

  required(...keys: readonly string[]): number {
    const value = this.optional(...keys)
    if (value !== undefined) return value
    throw corrupt(`The model cannot be opened: config.json has no '${keys[0]}'`)
  }

  flag(key: string, otherwise: boolean): boolean {
    const value = this.json[key] ?? otherwise
    if (typeof value === 'boolean') return value
    throw corrupt(`'${key}' of config.json is no flag`)
  }

  /** @throws AppError UNSUPPORTED unless the activation, or else its default, is one of `known`. */
  checkActivation(otherwise: string, ...known: readonly string[]): void {
    const { json } = this
    const name = json['hidden_activation'] ?? json['hidden_act'] ?? json['activation_function']
    const activation = name ?? json['activation'] ?? otherwise
    if (!known.includes(String(activation))) {
      throw this.refuse(`the activation '${String(activation)}'`)
    }
  }

  refuse(what: string): Error {
    return unsupported(`The model cannot be run: ${what} is not supported yet`)
  }
}
