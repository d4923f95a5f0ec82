// The words of a command line from the flags that it was read into, for another process to be
// started with them. Pure.
import { badInput } from '../../base/errors.ts'
import { typedName, type Options } from '../command.ts'
import type { Flags } from '../options.ts'

/** @throws AppError BAD_INPUT for a value that no file of a supervisor can hold */
export function wordsOf(flags: Flags, options: Options): string[] {
  return Object.entries(options).flatMap(([key, option]) => {
    const value = flags[key]
    const name = typedName(key)
    switch (option.kind) {
      case 'text':
        return typeof value === 'string' ? [`--${name}`, oneLine(name, value)] : []
      case 'list':
        return Array.isArray(value)
          ? value.flatMap((one) => [`--${name}`, oneLine(name, String(one))])
          : []
      case 'flag':
        return value === true ? [`--${name}`] : []
      case 'off':
        return value === false ? [`--no-${name}`] : []
      default:
        throw new TypeError(`No option is of this kind: '${String(option)}'`)
    }
  })
}

function oneLine(name: string, value: string): string {
  if (!/\p{Cc}/u.test(value)) return value
  throw badInput(`--${name} cannot be used for a service: it has control characters`)
}
