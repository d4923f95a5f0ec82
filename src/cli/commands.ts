// The commands and their options, as `petals --help` tells them.
// Each command is a file of its own, loaded when it is asked for: --version and --help start in 16 ms
// instead of 27, and need no cache folder to unpack native code to.
import { cac, type CAC } from 'cac'
import type { BootstrapFlags } from './commands/bootstrap.ts'
import type { ChatFlags } from './commands/chat.ts'
import type { CommonOptions, Context } from './context.ts'
import type { DoctorFlags } from './commands/doctor.ts'
import { helpSections } from './help.ts'
import type { JoinFlags } from './commands/join.ts'
import type { ModelsFlags } from './commands/models.ts'
import type { PlanFlags } from './commands/plan.ts'
import type { PullFlags } from './commands/pull.ts'
import { defaultModel } from './chat/remember.ts'
import type { StatusFlags } from './commands/status.ts'
import type { SwarmCommandFlags } from './commands/swarm.ts'
import { chatTarget } from './chat/target.ts'

export type Flags = Record<string, unknown> & CommonOptions
export type Run = (context: Context) => Promise<number | void>

const BOOTSTRAP_HELP = 'DHT nodes to start from (PETALS_BOOTSTRAP); default: public'
const SWARM_HELP = 'Private swarm: an invite, @file, - for stdin, or one made here (PETALS_SWARM)'
const LAN_HELP = 'Meet on the local network: needs no internet and no bootstrap node'
const SWARM_USAGE = `swarm ACTION
  create NAME                make a private swarm
  invite NAME [options]      print a new invite to it: one line, a secret
  narrow INVITE [options]    print a weaker invite; needs nobody else
  show INVITE                what an invite permits
  members NAME               invites given out, and whether they are good
  revoke NAME [ID|LABEL]...  take invites back, with all narrowed from them; none: publish again`
const PEERS_HELP = 'Take weights from the hub alone, and give none to other peers'
const MANIFEST_HELP =
  'Believe peers with this manifest alone, as petals verify prints it (default: what all agree on)'
const DISK_HELP = 'Most disk for models, converted ones too, e.g. 100g (default: what is free)'

/** `run` starts a command's body. */
export function declareCommands(run: (flags: Flags, body: Run) => void): CAC {
  const cli = cac('petals')
  cli
    .option('--log-level <level>', 'debug, info, warn or error')
    .option('--debug', 'Tell everything, with stacks')

  cli
    .command('bootstrap', 'Run DHT nodes of your own; prints the address for --bootstrap of others')
    .option(
      '--host <ip>',
      'IPv4 address that others reach it under; 0.0.0.0: the one of this machine (default: 127.0.0.1, for this machine alone)'
    )
    .option('--port <port>', 'UDP port, and the three after it; 0 for any (default: 49737)')
    .option('--bootstrap <host:port>', 'Become part of the DHT of these nodes; default: begin one')
    .example('  petals bootstrap --host 192.168.1.5')
    .action((flags: Flags) =>
      run(flags, async (context) => {
        const { runBootstrap } = await import('./commands/bootstrap.ts')
        return runBootstrap(flags as BootstrapFlags, context)
      })
    )

  cli
    .command('join <MODEL>', 'Serve blocks of a model')
    .option(
      '--blocks <A:B>',
      'Blocks A to B-1, for good; default: as many as fit, where the swarm is weakest, now and later'
    )
    .option(
      '--quant <type>',
      "How weights are held: native (the file's own), f32, f16 (rounded, held as f32), int8 or int4 (default: native)"
    )
    .option('--threads <n>', 'Threads of the engine (default: cores - 1)')
    .option('--device <name>', 'cpu, cuda or webgpu (default: cpu)')
    .option(
      '--memory <size>',
      'Most memory for weights and sessions, e.g. 8g (default: 80% of free)'
    )
    .option('--disk <size>', DISK_HELP)
    .option(
      '--prefix-cache <size>',
      'Memory for what ended sessions leave for an hour, or off (default: half of that for sessions)'
    )
    .option('--bootstrap <host:port>', BOOTSTRAP_HELP)
    .option('--swarm <invite>', SWARM_HELP)
    .option('--lan', LAN_HELP)
    .option('--port <port>', 'UDP port (default: any)')
    .option('--host <ip>', 'Address to listen on (default: all, or loopback with its bootstrap)')
    .option(
      '--identity <folder>',
      "Where this server's key lies (default: one per model and server)"
    )
    .option('--no-peer-weights', PEERS_HELP)
    .option('--manifest <root>', MANIFEST_HELP)
    .option(
      '--upload-limit <size>',
      'Most bytes a second of weights given to others (default: 10m)'
    )
    .example('  petals join smollm2-135m --blocks 0:10 --bootstrap 127.0.0.1:49737')
    .action((model: string, flags: Flags) =>
      run(flags, async (context) => {
        const { runJoin } = await import('./commands/join.ts')
        return runJoin(String(model), flags as JoinFlags, context)
      })
    )

  cli
    .command('chat [...words]', 'Ask, or talk on a terminal')
    .usage('chat [MODEL] [PROMPT]')
    .option('--bootstrap <host:port>', BOOTSTRAP_HELP)
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
    .option(
      '--continue',
      'Print the whole of the answer that was interrupted, to its end (--session)'
    )
    .option('--no-prefix-cache', 'Let servers keep nothing of it for the next time')
    .option(
      '--forget',
      'Let servers forget it at its end, and all that they kept of chats that begin like it'
    )
    .option('--share', 'Let others begin with --system as servers keep it from here on')
    .option('--shared-by <key>', 'Begin with --system as its maker shared it; trust them with that')
    .option('--no-speculate', 'Send no guessed tokens along; the text is the same')
    .option(
      '--draft <model>',
      'A small model with the same tokens that guesses here, or none (default: one of the cache, where it pays)'
    )
    .option('--stats', 'A line on stderr: tokens, tokens/s, time to first token, guesses, route')
    .option('--trace', "A line on stderr: where a step's time goes")
    .option('--wire <type>', 'How activations travel: f32, f16, bf16 or int8 (default: by width)')
    .option(
      '--head <type>',
      "native or f32: how exact the last matrix is (default: as the servers')"
    )
    .option('--threads <n>', 'Threads of the engine (default: cores - 1)')
    .option('--device <name>', 'cpu, cuda or webgpu (default: cpu)')
    .option('--no-peer-weights', PEERS_HELP)
    .option('--manifest <root>', MANIFEST_HELP)
    .example(
      '  echo "Why is the sky blue?" | petals chat smollm2-135m --temperature 0 > answer.txt'
    )
    .example('  cat notes.txt | petals chat smollm2-135m "Summarise this" > out.txt')
    .action((words: string[], flags: Flags) => run(flags, (context) => chat(words, flags, context)))

  cli
    .command('status <MODEL>', 'Who serves which blocks, how fast, and what is missing')
    .option('--bootstrap <host:port>', BOOTSTRAP_HELP)
    .option('--swarm <invite>', SWARM_HELP)
    .option('--lan', LAN_HELP)
    .option('--json', 'As JSON')
    .option('--no-peer-weights', PEERS_HELP)
    .action((model: string, flags: Flags) =>
      run(flags, async (context) => {
        const { runStatus } = await import('./commands/status.ts')
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
    .option('--bootstrap <host:port>', BOOTSTRAP_HELP)
    .option('--swarm <invite>', SWARM_HELP)
    .option('--lan', LAN_HELP)
    .option('--alone', 'Leave the swarm out')
    .option('--no-peer-weights', PEERS_HELP)
    .option('--json', 'As JSON')
    .action((model: string, flags: Flags) =>
      run(flags, async (context) => {
        const { runPlan } = await import('./commands/plan.ts')
        return runPlan(String(model), flags as PlanFlags, context)
      })
    )

  cli
    .command('models', 'What is in the cache, and how much of it is here')
    .option('--json', 'As JSON')
    .action((flags: Flags) =>
      run(flags, async (context) => {
        const { runModels } = await import('./commands/models.ts')
        return runModels(flags as ModelsFlags, context)
      })
    )

  cli
    .command('pull <MODEL>', 'Fetch a model, or some of its blocks, before it is needed')
    .option('--blocks <A:B>', 'Blocks A to B-1 alone; default: all of the model')
    .option('--disk <size>', DISK_HELP)
    .option('--bootstrap <host:port>', BOOTSTRAP_HELP)
    .option('--swarm <invite>', SWARM_HELP)
    .option('--lan', LAN_HELP)
    .option('--no-peer-weights', PEERS_HELP)
    .option('--manifest <root>', MANIFEST_HELP)
    .example('  petals pull llama3.3-70b --blocks 0:20')
    .action((model: string, flags: Flags) =>
      run(flags, async (context) => {
        const { runPull } = await import('./commands/pull.ts')
        return runPull(String(model), flags as PullFlags, context)
      })
    )

  cli.command('rm <MODEL>', 'Remove a model from the cache').action((model: string, flags: Flags) =>
    run(flags, async (context) => {
      const { runRm } = await import('./commands/rm.ts')
      return runRm(String(model), context)
    })
  )

  cli
    .command('verify <MODEL>', 'Check a model in the cache against its hashes')
    .action((model: string, flags: Flags) =>
      run(flags, async (context) => {
        const { runVerify } = await import('./commands/verify.ts')
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
    .option('--bootstrap <host:port>', BOOTSTRAP_HELP)
    .option('--lan', 'Revoke on the local network')
    .option('--out <file>', 'Write the invite there, for your eyes alone (default: stdout)')
    .option('--json', 'As JSON')
    .example('  petals swarm create home')
    .example('  petals swarm invite home --label alice --may chat --expires 30d > alice.invite')
    .example('  petals chat smollm2-135m "Hello" --swarm @alice.invite')
    .action((words: string[], flags: Flags) =>
      run(flags, async (context) => {
        const { runSwarm } = await import('./commands/swarm.ts')
        return runSwarm(words.map(String), flags as SwarmCommandFlags, context)
      })
    )

  cli
    .command(
      'doctor',
      'Go through what petals needs of this machine; exits with 0 when the CPU can compute'
    )
    .option('--device <name>', 'Exit with 0 only if it works too: cuda or webgpu (default: cpu)')
    .option('--install-cuda', "First fetch CUDA's libraries (0.8 GB, Linux x64) through pip")
    .option('--offline', 'Leave the DHT and the hub out')
    .option('--bootstrap <host:port>', BOOTSTRAP_HELP)
    .option('--json', 'As JSON')
    .example('  petals doctor --device cuda --json > report.json')
    .action((flags: Flags) =>
      run(flags, async (context) => {
        const { runDoctor } = await import('./commands/doctor.ts')
        return runDoctor(flags as DoctorFlags, context)
      })
    )

  cli.help((sections) => helpSections(sections, cli.matchedCommand?.description))
  return cli
}

async function chat(words: string[], flags: Flags, context: Context): Promise<number> {
  const rest: unknown = flags['--']
  const all = [...words, ...(Array.isArray(rest) ? rest : [])].map(String)
  const target = await chatTarget(all, { defaultModel: await defaultModel(context) })
  const { runChat } = await import('./commands/chat.ts')
  return runChat(target, flags as ChatFlags, context)
}
