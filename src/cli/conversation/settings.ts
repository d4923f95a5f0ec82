// How answers are generated, as the user changes it within a conversation (/set).
import { badInput } from '../../base/errors.ts'
import { resolveSampling, samplingRange } from '../../library/text/sampling.ts'
import { typedName } from '../command.ts'
import { nearest } from '../nearest.ts'
import { parseNumber, parseWhole } from '../options.ts'
import { NUMBERS, type Request } from '../chat/chat-flags.ts'

export class Settings {
  #request: Request

  constructor(request: Request) {
    this.#request = request
  }

  get request(): Request {
    return this.#request
  }

  /** `temperature 0.2`, or `seed off` for the default. @throws AppError BAD_INPUT */
  set(name: string, value: string): void {
    const names = [...NUMBERS.map(typedName), 'max-tokens']
    const wanted = name.toLowerCase().replace(/^--/, '').replaceAll('_', '-')
    const key = NUMBERS.find((one) => typedName(one) === wanted)
    if (key === undefined && wanted !== 'max-tokens') {
      const near = nearest(wanted, names)
      throw badInput(`There is no setting '${name}'`, {
        hint: near === undefined ? `Give one of ${names.join(', ')}` : `Did you mean ${near}?`
      })
    }
    if (value === '') throw badInput(`${wanted} needs a value, or off`)
    const next: Request = { ...this.#request }
    delete next[key ?? 'maxTokens']
    if (value !== 'off') {
      const number = key
        ? parseNumber(wanted, value, samplingRange(key))
        : parseWhole(wanted, value, 1, 10_000_000)
      if (number !== undefined) next[key ?? 'maxTokens'] = number
    }
    resolveSampling(next)
    this.#request = next
  }

  /** One line for each setting that was changed. */
  lines(): string[] {
    const { maxTokens } = this.#request
    const { seed: _chance, ...sampling } = resolveSampling(this.#request)
    return [
      ...NUMBERS.flatMap((key) => {
        const value = key === 'seed' ? this.#request.seed : sampling[key]
        return `${typedName(key)} ${value ?? 'by chance'}`
      }),
      `max-tokens ${maxTokens ?? 'until the model stops'}`
    ]
  }
}
