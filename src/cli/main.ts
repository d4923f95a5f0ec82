#!/usr/bin/env bun
// The program's entry: runs the command that was asked for, and ends with an honest exit code.
// commands.ts lists the commands, argv.ts reads what was typed.
import { AppError } from '../base/errors.ts'
import { resolvePaths } from '../base/paths.ts'
import { versionText } from '../base/version.ts'
import { readArguments, type Typed } from './argv.ts'
import type { Command } from './command.ts'
import { COMMANDS } from './commands.ts'
import { createContext } from './context.ts'
import { EXAMINE } from './doctor/examine-word.ts'
import { errorOf, errorText, EXIT, exitCode } from './exit.ts'
import { helpText } from './help.ts'
import { interruptible } from './lifetime.ts'
import { print } from './output.ts'

/** Runs the program with the words behind its name. Returns the exit code. */
async function main(typed: readonly string[]): Promise<number> {
  if (typed[0] === EXAMINE) {
    const { runExamine } = await import('./doctor/doctor-device.ts')
    return runExamine(typed.slice(1))
  }
  const debug = typed.includes('--debug')
  try {
    const read = readArguments(typed, COMMANDS)
    const { command, flags } = read
    if (flags['version'] === true) return await print(await fullVersion())
    if (command && flags['help'] !== true) return await execute(command, read)
    const left = await print(helpText(command, COMMANDS))
    return left !== EXIT.ok || flags['help'] === true ? left : EXIT.usage
  } catch (thrown) {
    return fail(errorOf(thrown), debug)
  }
}

async function fullVersion(): Promise<string> {
  const { kernelsLine } = await import('./kernels-line.ts')
  return `${versionText()}\n${kernelsLine(resolvePaths(process.env).cache)}\n`
}

async function execute(command: Command, { words, flags }: Typed): Promise<number> {
  const life = interruptible()
  const debug = flags['debug'] === true
  try {
    const context = await createContext(flags, life.signal)
    return (await command.run(words, flags, context)) ?? EXIT.ok
  } catch (thrown) {
    // What fails because of Ctrl-C is no fault.
    const error = life.signal.aborted ? interrupted(thrown) : errorOf(thrown)
    const model = command.words.includes('<MODEL>') ? words[0] : undefined
    return fail(error, debug, model)
  } finally {
    // At every log level: whoever finds a server gone wants to know this first.
    if (command.isServer && life.cause) process.stderr.write(`ended: ${life.cause}\n`)
    life.stop()
  }
}

function interrupted(thrown: unknown): AppError {
  return new AppError('CANCELLED', 'Interrupted', { cause: thrown })
}

/** Tells the error; returns its exit code. */
function fail(error: AppError, debug: boolean, model?: string): number {
  if (error.code !== 'CANCELLED') process.stderr.write(errorText(error, { debug, model }))
  return exitCode(error.code)
}

process.exit(await main(process.argv.slice(2)))
