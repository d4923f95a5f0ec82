#!/usr/bin/env bun
// The program's entry: runs the command that was typed and returns its exit code. commands.ts lists
// the commands, argv.ts reads what was typed.
import { systemClock } from '../base/clock.ts'
import { AppError } from '../base/errors.ts'
import { eventLine, jsonLine, type LogFormat } from '../base/log.ts'
import { resolvePaths } from '../base/paths.ts'
import { versionText } from '../base/version.ts'
import { readArguments, type Typed } from './argv.ts'
import type { Command } from './command.ts'
import { COMMANDS } from './commands.ts'
import { readConfig } from './config.ts'
import { createContext, logFormatOf } from './context.ts'
import { EXAMINE } from './doctor/examine-word.ts'
import { errorOf, errorText, EXIT, exitCode } from './exit.ts'
import { helpText } from './help.ts'
import { interruptible } from './lifetime.ts'
import { print } from './output.ts'
import { WordWrap } from './terminal/word-wrap.ts'

/** Runs the program with the words after its name. Returns the exit code. */
async function main(typed: readonly string[]): Promise<number> {
  if (typed[0] === EXAMINE) {
    const { runExamine } = await import('./doctor/doctor-device.ts')
    return runExamine(typed.slice(1))
  }
  const how = { debug: typed.includes('--debug'), format: logFormatOf(typed) }
  try {
    const read = readArguments(typed, COMMANDS)
    const { command, flags } = read
    if (flags['version'] === true) return await print(await fullVersion())
    if (command && flags['help'] !== true) return await execute(command, read, how)
    if (typed.length === 0) return await greet()
    const left = await print(helpText(command, COMMANDS, helpColumns()))
    return left !== EXIT.ok || flags['help'] === true ? left : EXIT.usage
  } catch (thrown) {
    return fail(errorOf(thrown), how)
  }
}

/** Those of the terminal; a file gets whole lines. */
function helpColumns(): number | undefined {
  const { isTTY, columns } = process.stdout
  return isTTY ? columns || 80 : undefined
}

/** `petals` alone. */
async function greet(): Promise<number> {
  const life = interruptible()
  try {
    const { runHome } = await import('./run/home.ts')
    return await runHome(await createContext({}, life.signal))
  } finally {
    life.stop()
  }
}

async function fullVersion(): Promise<string> {
  const { kernelsLine } = await import('./kernels-line.ts')
  return `${versionText()}\n${kernelsLine(resolvePaths(process.env).cache)}\n`
}

async function execute(command: Command, typed: Typed, how: Telling): Promise<number> {
  const { words } = typed
  const life = interruptible()
  try {
    const folder = resolvePaths(process.env).data
    const config = readConfig({ folder, command, commands: COMMANDS, env: process.env })
    const flags = { ...config, ...typed.flags }
    const context = await createContext(flags, life.signal)
    return (await command.run(words, flags, context)) ?? EXIT.ok
  } catch (thrown) {
    // A failure caused by Ctrl-C is no error.
    const error = life.signal.aborted ? interrupted(thrown) : errorOf(thrown)
    const model = command.words.includes('<MODEL>') ? words[0] : undefined
    return fail(error, { ...how, model })
  } finally {
    // At every log level: it is the first thing to know when a server has ended.
    if (command.isServer && life.cause) {
      process.stderr.write(eventLine('ended', life.cause, { format: how.format }))
    }
    life.stop()
  }
}

function interrupted(thrown: unknown): AppError {
  return new AppError('CANCELLED', 'Interrupted', { cause: thrown })
}

/** How errors and ends are told. */
interface Telling {
  readonly debug: boolean
  readonly format: LogFormat
  /** As it was typed. */
  readonly model?: string | undefined
}

function errorLine(error: AppError, debug: boolean): string {
  const { code, hint, stack } = error
  const isTold = debug || code === 'INTERNAL'
  const fields = { code, exitCode: exitCode(code), hint, ...(isTold ? { stack } : {}) }
  return jsonLine({ time: systemClock.wall(), level: 'error', message: error.message, fields })
}

/** Broken at words, where a terminal would break within them. */
function fitted(text: string): string {
  const { stderr } = process
  return stderr.isTTY ? new WordWrap(() => stderr.columns || 80).push(text) : text
}

/** Shows the error; returns its exit code. */
function fail(error: AppError, { debug, format, model }: Telling): number {
  if (error.code !== 'CANCELLED') {
    const isJson = format === 'json'
    process.stderr.write(
      isJson ? errorLine(error, debug) : fitted(errorText(error, { debug, model }))
    )
  }
  return exitCode(error.code)
}

process.exit(await main(process.argv.slice(2)))
