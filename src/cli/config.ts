// Options that a person wants every time: config.toml in the data folder, with the names of the
// options and without their dashes. What is typed comes first, then the environment, then this.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { badInput } from '../base/errors.ts'
import { fileError } from '../base/files/file-error.ts'
import { type Command, type Option, typedName } from './command.ts'
import { GLOBAL_OPTIONS } from './common-options.ts'
import { nearest } from './nearest.ts'
import type { Flags, FlagValue } from './options.ts'

export const CONFIG_FILE = 'config.toml'

/** Variables that come before the file. */
const ENVIRONMENT: Readonly<Record<string, string>> = {
  bootstrap: 'PETALS_BOOTSTRAP',
  swarm: 'PETALS_SWARM',
  apiKey: 'PETALS_API_KEY'
}

type Table = Readonly<Record<string, unknown>>

export interface ConfigOptions {
  /** The data folder. */
  folder: string
  command: Command
  commands: readonly Command[]
  env: Readonly<Record<string, string | undefined>>
}

/** The file's options for a command; none where there is no file. @throws AppError BAD_INPUT */
export function readConfig(options: ConfigOptions): Flags {
  const path = join(options.folder, CONFIG_FILE)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return {}
    throw fileError(`'${path}' cannot be read`, error)
  }
  return configFlags(text, path, options)
}

/** @param path as messages name it */
export function configFlags(
  text: string,
  path: string,
  { command, commands, env }: Omit<ConfigOptions, 'folder'>
): Flags {
  const flags: Record<string, FlagValue> = {}
  const take = (table: Table, owners: readonly Command[], where: string): void => {
    for (const [name, value] of Object.entries(table)) {
      const found = owners.flatMap((owner) => findOption(owner, name) ?? [])
      if (found.length === 0) throw unknownOption(name, owners, where)
      const own = findOption(command, name)
      if (!own || !owners.includes(command)) continue
      const variable = ENVIRONMENT[own.key]
      if (variable !== undefined && env[variable]) continue
      flags[own.key] = flagValue(own.option, name, value, where)
    }
  }
  const all = parse(text, path)
  const isTable = (value: unknown): value is Table =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
  const common = Object.entries(all).filter(([, value]) => !isTable(value))
  take(Object.fromEntries(common), commands, path)
  for (const [name, table] of Object.entries(all)) {
    if (!isTable(table)) continue
    const owner = commands.find((one) => one.name === name)
    if (!owner) throw badInput(`${path}: there is no command '${name}'`, hintOf(name, commands))
    take(table, [owner], `${path}, [${name}]`)
  }
  return flags
}

function parse(text: string, path: string): Table {
  try {
    return Bun.TOML.parse(text) as Table
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw badInput(`${path} cannot be used: ${why}`, {
      hint: 'It is TOML: temperature = 0.2, device = "cuda", [chat] before what is of chat alone'
    })
  }
}

function optionsOf(command: Command): Readonly<Record<string, Option>> {
  return { ...(command.isConfigured ? command.options : {}), ...GLOBAL_OPTIONS }
}

function nameOf(key: string, { kind }: Option): string {
  return kind === 'off' ? `no-${typedName(key)}` : typedName(key)
}

function findOption(command: Command, name: string): { key: string; option: Option } | undefined {
  const found = Object.entries(optionsOf(command)).find(
    ([key, option]) => nameOf(key, option) === name
  )
  // What only shows something, once, is no habit.
  if (!found || name === 'help' || name === 'version') return undefined
  return { key: found[0], option: found[1] }
}

function unknownOption(name: string, owners: readonly Command[], where: string): Error {
  const known = owners.flatMap((owner) =>
    Object.entries(optionsOf(owner)).map(([key, option]) => nameOf(key, option))
  )
  const near = nearest(name, known)
  return badInput(`${where}: there is no option '${name}'`, {
    hint: near === undefined ? 'petals COMMAND --help lists them' : `Did you mean ${near}?`
  })
}

function hintOf(name: string, commands: readonly Command[]): { hint: string } {
  const near = nearest(
    name,
    commands.map((one) => one.name)
  )
  return { hint: near === undefined ? 'petals --help lists them' : `Did you mean [${near}]?` }
}

function flagValue(option: Option, name: string, value: unknown, where: string): FlagValue {
  switch (option.kind) {
    case 'flag':
    case 'off':
      if (typeof value !== 'boolean') throw wrong(name, 'true or false', where)
      return option.kind === 'off' ? !value : value
    case 'list': {
      const words = Array.isArray(value) ? value : [value]
      if (!words.every((word) => typeof word === 'string')) throw wrong(name, 'texts', where)
      return words
    }
    case 'text':
      if (typeof value === 'string') return value
      if (typeof value === 'number') return String(value)
      throw wrong(name, 'a text or a number', where)
    default:
      throw new TypeError(`No option is of this kind: '${String(option)}'`)
  }
}

function wrong(name: string, wanted: string, where: string): Error {
  return badInput(`${where}: '${name}' cannot be used`, { hint: `Give ${wanted}` })
}
