// The program's entry: declares the commands, runs one, and ends with an honest exit code.
// Each command is a file of its own, loaded when it is asked for: --version and --help start in 16 ms
// instead of 27, and need no cache folder to unpack native code to.
import { cac, type CAC } from 'cac'
import { AppError, badInput, toAppError } from '../base/errors.ts'
import { versionText } from '../base/version.ts'
import type { BootstrapFlags } from './bootstrap.ts'
import type { ChatFlags } from './chat.ts'
import { createContext, type CommonOptions, type Context } from './context.ts'
import { errorText, EXIT, EXIT_HELP, exitCode } from './exit.ts'
import type { JoinFlags } from './join.ts'
import { interruptible } from './lifetime.ts'
import type { ModelsFlags } from './models.ts'
import type { PlanFlags } from './plan.ts'
import type { PullFlags } from './pull.ts'
import { defaultModel } from './remember.ts'
import type { StatusFlags } from './status.ts'
import type { SwarmCommandFlags } from './swarm.ts'
import { chatTarget } from './target.ts'

type Flags = Record<string, unknown> & CommonOptions
type Run = (context: Context) => Promise<number | void>

const MODEL_HELP =
  'MODEL is an alias (smollm2-135m, llama3-8b ...), owner/name of a hub, a GGUF file or a folder'
const SWARM_HELP = 'Private swarm: an invite, @file, - for stdin, or one made here (PETALS_SWARM)'
const LAN_HELP = 'Meet on the local network: needs no internet and no bootstrap node'
const SWARM_USAGE = `swarm ACTION
  create NAME                make a private swarm
  invite NAME [options]      print a new invite to it: one line, a secret
  narrow INVITE [options]    print a weaker invite; needs nobody else
  show INVITE                what an invite permits
  members NAME               invites given out, and whether they are good
  revoke NAME [ID|LABEL]...  take invites back, with all narrowed from them; none: publish again`
const DISK_HELP = 'Most disk for all models in the cache, e.g. 100g (default: what is free)'

function declare(run: (flags: Flags, body: Run) => void): CAC {
  const cli = cac('petals')
  cli
    .option(
      '--bootstrap <host:port>',
      'DHT nodes to start from (PETALS_BOOTSTRAP); default: public'
    )
    .option('--log-level <level>', 'debug, info, warn or error')
    .option('--debug', 'Tell everything, with stacks')

  cli
    .command('bootstrap', 'Run a DHT node of your own; prints the address that others need')
    .option('--host <ip>', 'Address to listen on (default: 127.0.0.1)')
    .option('--port <port>', 'UDP port, 0 for any (default: 49737)')
    .example('  petals bootstrap --host 192.168.1.5')
    .action((flags: Flags) =>
      run(flags, async (context) => {
        const { runBootstrap } = await import('./bootstrap.ts')
        return runBootstrap(flags as BootstrapFlags, context)
      })
    )

  cli
    .command('join <MODEL>', `Serve blocks of a model. ${MODEL_HELP}`)
    .option(
      '--blocks <A:B>',
      'Blocks A to B-1; default: as many as fit, where the swarm is weakest'
    )
    .option('--quant <type>', "native (the file's own), f32, f16, int8 or int4 (default: native)")
    .option('--threads <n>', 'Threads of the engine (default: cores - 1)')
    .option('--device <name>', 'cpu, cuda or webgpu (default: cpu)')
    .option(
      '--memory <size>',
      'Most memory for weights and sessions, e.g. 8g (default: 80% of free)'
    )
    .option('--disk <size>', DISK_HELP)
    .option('--swarm <invite>', SWARM_HELP)
    .option('--lan', LAN_HELP)
    .option('--port <port>', 'UDP port (default: any)')
    .option('--host <ip>', 'Address to listen on (default: all, or loopback with its bootstrap)')
    .option(
      '--identity <folder>',
      "Where this server's key lies (default: one per model and server)"
    )
    .example('  petals join smollm2-135m --blocks 0:10 --bootstrap 127.0.0.1:49737')
    .action((model: string, flags: Flags) =>
      run(flags, async (context) => {
        const { runJoin } = await import('./join.ts')
        return runJoin(String(model), flags as JoinFlags, context)
      })
    )

  cli
    .command('chat [...words]', `[MODEL] [PROMPT]: ask, or talk on a terminal. ${MODEL_HELP}`)
    .option('--swarm <invite>', SWARM_HELP)
    .option('--lan', LAN_HELP)
    .option('--max-tokens <n>', 'Longest answer in tokens (default: until the model stops)')
    .option('--system <text>', 'Instructions before the first question')
    .option('--raw', 'Give the prompt as it is, without a chat template')
    .option('--temperature <t>', '0 takes the likeliest token each time (default: 0.7)')
    .option('--top-p <p>', 'Smallest set of tokens with this probability (default: 0.95)')
    .option('--top-k <k>', 'The k likeliest tokens, 0 for all (default: 0)')
    .option('--min-p <p>', 'Drop tokens below this share of the likeliest (default: 0)')
    .option('--repetition-penalty <r>', 'Over 1 avoids what was said lately (default: 1)')
    .option('--seed <n>', 'The same seed gives the same text')
    .option('--session <file>', 'Keep the conversation in a file and go on with it')
    .option('--no-speculate', 'Send no guessed tokens along; the text is the same')
    .option('--stats', 'A line on stderr: tokens, tokens/s, time to first token, route')
    .option('--trace', "A line on stderr: where a step's time goes")
    .option('--wire <type>', 'How activations travel: f32, f16, bf16 or int8 (default: by width)')
    .option(
      '--head <type>',
      "native or f32: how exact the last matrix is (default: as the servers')"
    )
    .option('--threads <n>', 'Threads of the engine (default: cores - 1)')
    .option('--device <name>', 'cpu, cuda or webgpu (default: cpu)')
    .example(
      '  echo "Why is the sky blue?" | petals chat smollm2-135m --temperature 0 > answer.txt'
    )
    .example('  cat notes.txt | petals chat smollm2-135m "Summarise this" > out.txt')
    .action((words: string[], flags: Flags) => run(flags, (context) => chat(words, flags, context)))

  cli
    .command('status <MODEL>', 'Who serves which blocks, how fast, and what is missing')
    .option('--swarm <invite>', SWARM_HELP)
    .option('--lan', LAN_HELP)
    .option('--json', 'As JSON')
    .action((model: string, flags: Flags) =>
      run(flags, async (context) => {
        const { runStatus } = await import('./status.ts')
        return runStatus(String(model), flags as StatusFlags, context)
      })
    )

  cli
    .command('plan <MODEL>', 'What fits here, and how fast it would be, before joining')
    .option('--quant <type>', 'native, f32, int8 or int4: what is measured (default: native)')
    .option('--threads <n>', 'Threads of the engine (default: cores - 1)')
    .option('--device <name>', 'cpu, cuda or webgpu (default: cpu)')
    .option('--memory <size>', 'As for join (default: 80% of free)')
    .option('--disk <size>', DISK_HELP)
    .option('--swarm <invite>', SWARM_HELP)
    .option('--lan', LAN_HELP)
    .option('--alone', 'Leave the swarm out')
    .option('--json', 'As JSON')
    .action((model: string, flags: Flags) =>
      run(flags, async (context) => {
        const { runPlan } = await import('./plan.ts')
        return runPlan(String(model), flags as PlanFlags, context)
      })
    )

  cli
    .command('models', 'What is in the cache, and how much of it is here')
    .option('--json', 'As JSON')
    .action((flags: Flags) =>
      run(flags, async (context) => {
        const { runModels } = await import('./models.ts')
        return runModels(flags as ModelsFlags, context)
      })
    )

  cli
    .command('pull <MODEL>', 'Fetch a model, or some of its blocks, before it is needed')
    .option('--blocks <A:B>', 'Blocks A to B-1 alone; default: all of the model')
    .option('--disk <size>', DISK_HELP)
    .example('  petals pull llama3.3-70b --blocks 0:20')
    .action((model: string, flags: Flags) =>
      run(flags, async (context) => {
        const { runPull } = await import('./pull.ts')
        return runPull(String(model), flags as PullFlags, context)
      })
    )

  cli.command('rm <MODEL>', 'Remove a model from the cache').action((model: string, flags: Flags) =>
    run(flags, async (context) => {
      const { runRm } = await import('./rm.ts')
      return runRm(String(model), context)
    })
  )

  cli
    .command('verify <MODEL>', 'Check a model in the cache against its hashes')
    .action((model: string, flags: Flags) =>
      run(flags, async (context) => {
        const { runVerify } = await import('./verify.ts')
        return runVerify(String(model), context)
      })
    )

  cli
    .command('swarm [...words]', 'Private swarms: create NAME, invite NAME, members NAME, ...')
    .usage(SWARM_USAGE)
    .option('--may <acts>', 'chat, serve or chat,serve (default: as before)')
    .option('--models <names>', 'Content ids or names of the models it is good for')
    .option('--tokens-per-day <n>', 'Tokens that each server computes for its holders in a day')
    .option('--sessions <n>', 'Sessions that its holders may have open at each server')
    .option('--expires <when>', '12h, 30d, or a date such as 2031-01-31')
    .option('--label <text>', 'Who it is for; members see it')
    .option('--lan', 'Revoke on the local network')
    .option('--out <file>', 'Write the invite there, for your eyes alone (default: stdout)')
    .option('--json', 'As JSON')
    .example('  petals swarm create home')
    .example('  petals swarm invite home --label alice --may chat --expires 30d > alice.invite')
    .example('  petals chat smollm2-135m "Hello" --swarm @alice.invite')
    .action((words: string[], flags: Flags) =>
      run(flags, async (context) => {
        const { runSwarm } = await import('./swarm.ts')
        return runSwarm(words.map(String), flags as SwarmCommandFlags, context)
      })
    )

  cli.help((sections) => [...sections, { body: EXIT_HELP }])
  return cli
}

async function chat(words: string[], flags: Flags, context: Context): Promise<number> {
  const rest: unknown = flags['--']
  const all = [...words, ...(Array.isArray(rest) ? rest : [])].map(String)
  const target = await chatTarget(all, { defaultModel: await defaultModel(context) })
  const { runChat } = await import('./chat.ts')
  return runChat(target, flags as ChatFlags, context)
}

async function execute(body: Run, flags: Flags, debug: boolean): Promise<number> {
  const life = interruptible()
  try {
    return (await body(createContext(flags, life.signal))) ?? EXIT.ok
  } catch (thrown) {
    const error = life.signal.aborted ? interrupted(thrown) : toAppError(thrown)
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

/** A dash for an invite on stdin: the parser would drop it. */
function joinDashes(argv: readonly string[]): string[] {
  const words: string[] = []
  for (const word of argv) {
    if (word === '-' && words.at(-1) === '--swarm') words[words.length - 1] = '--swarm=-'
    else words.push(word === '-' && words[2] === 'swarm' ? '@-' : word)
  }
  return words
}

/** Runs the program with `argv` as process.argv has it. Returns the exit code. */
async function main(argv: readonly string[]): Promise<number> {
  if (argv.slice(2).some((word) => word === '--version' || word === '-v') && argv.length === 3) {
    process.stdout.write(`${versionText()}\n`)
    return EXIT.ok
  }
  const debug = argv.includes('--debug')
  let running: Promise<number> | undefined
  const cli = declare((flags, body) => {
    running = execute(body, flags, debug)
  })
  try {
    cli.parse(joinDashes(argv), { run: false })
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
