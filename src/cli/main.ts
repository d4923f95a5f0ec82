// The program's entry: runs the command that was asked for, and ends with an honest exit code.
// commands.ts declares the commands.
import { AppError, badInput, toAppError } from '../base/errors.ts'
import { versionText } from '../base/version.ts'
import { fitArguments } from './argv.ts'
import { declareCommands, type Flags, type Run } from './commands.ts'
import { createContext } from './context.ts'
import { errorOf, errorText, EXIT, exitCode } from './exit.ts'
import { EXAMINE } from './doctor/examine-word.ts'
import { interruptible } from './lifetime.ts'

async function execute(body: Run, flags: Flags, debug: boolean): Promise<number> {
  const life = interruptible()
  try {
    return (await body(createContext(flags, life.signal))) ?? EXIT.ok
  } catch (thrown) {
    const error = life.signal.aborted ? interrupted(thrown) : errorOf(thrown)
    if (error.code !== 'CANCELLED') process.stderr.write(errorText(error, debug))
    return exitCode(error.code)
  } finally {
    life.stop()
  }
}

/** What fails because of Ctrl-C is no fault. */
function interrupted(thrown: unknown): AppError {
  return new AppError('CANCELLED', 'Interrupted', { cause: thrown })
}

function usageError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown
  if (thrown instanceof Error && thrown.name === 'CACError') {
    return badInput(thrown.message, { hint: 'See petals --help' })
  }
  return toAppError(thrown)
}

/** Runs the program with `argv` as process.argv has it. Returns the exit code. */
async function main(argv: readonly string[]): Promise<number> {
  if (argv.slice(2).some((word) => word === '--version' || word === '-v') && argv.length === 3) {
    process.stdout.write(`${versionText()}\n`)
    return EXIT.ok
  }
  if (argv[2] === EXAMINE) {
    const { runExamine } = await import('./doctor/doctor-device.ts')
    return runExamine(argv.slice(3))
  }
  const debug = argv.includes('--debug')
  let running: Promise<number> | undefined
  const cli = declareCommands((flags, body) => {
    running = execute(body, flags, debug)
  })
  try {
    cli.parse(fitArguments(argv), { run: false })
    if (cli.options['help'] === true) return EXIT.ok
    if (!cli.matchedCommand) {
      const [name] = cli.args
      if (name === undefined) {
        cli.outputHelp()
        return EXIT.usage
      }
      throw badInput(`There is no command '${name}'`, { hint: 'See petals --help' })
    }
    cli.runMatchedCommand()
  } catch (thrown) {
    const error = usageError(thrown)
    process.stderr.write(errorText(error, debug))
    return exitCode(error.code)
  }
  return (await running) ?? EXIT.internal
}

process.exit(await main(process.argv))
