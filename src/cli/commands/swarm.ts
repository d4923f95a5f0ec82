// Declares `petals swarm ACTION`.
import { type Command, command, flag, text } from '../command.ts'
import { BOOTSTRAP, JSON_OUTPUT } from '../common-options.ts'
import type { SwarmCommandFlags } from '../run/swarm.ts'

const USAGE = `swarm ACTION
  create NAME                make a private swarm
  list                       the private swarms that were made on this machine
  invite NAME [options]      print a new invite to it: one line, a secret
  narrow INVITE [options]    print a weaker invite; needs nobody else
  show INVITE                what an invite permits
  members NAME               invites given out, and whether they are good
  revoke NAME [ID|LABEL]...  take invites back, with all narrowed from them;
                             without one: publish again`

export const swarm: Command = command<SwarmCommandFlags>({
  name: 'swarm',
  words: 'ACTION',
  choices: ['create', 'list', 'invite', 'narrow', 'show', 'members', 'revoke'],
  mostWords: Infinity,
  about: 'Private swarms: create NAME, invite NAME, members NAME, ...',
  usage: USAGE,
  options: {
    may: text(
      'acts',
      'What it permits: chat, serve, tune, with commas between (default: as before)'
    ),
    models: text('names', 'Content ids or names of the models it is good for'),
    tokensPerDay: text('n', 'Tokens that each server computes for its holders in a day'),
    sessions: text('n', 'Sessions that its holders may have open at each server'),
    expires: text('when', '12h, 30d, or a date such as 2031-01-31'),
    label: text('text', 'Who it is for; members see it'),
    bootstrap: BOOTSTRAP,
    lan: flag('Revoke on the local network'),
    out: text('file', 'Write the invite there, for your eyes alone (default: stdout)'),
    json: JSON_OUTPUT
  },
  examples: [
    'petals swarm create home',
    'petals swarm invite home --label alice --may chat --expires 30d --out alice.invite',
    'petals chat smollm2-135m "Hello" --swarm @alice.invite'
  ],
  async run(words, flags, context) {
    const { runSwarm } = await import('../run/swarm.ts')
    return runSwarm(words, flags, context)
  }
})
