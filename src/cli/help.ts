// What --help says beside commands and options: the environment, and what exit codes mean.
import { EXIT_HELP } from './exit.ts'

/** A part of a help text, as the parser makes them. */
export interface HelpSection {
  title?: string
  body: string
}

const PITCH = 'petals: large language models over a swarm of ordinary machines'

const MORE = `petals COMMAND --help tells the rest of each; petals --version what it is made of.`

const MODEL =
  'MODEL is an alias (smollm2-135m, llama3-8b ...), owner/name[@revision] of a hub, a GGUF file,\n' +
  "a llama2.c checkpoint, or a folder in the hub's layout."

const ENVIRONMENT = `  PETALS_BOOTSTRAP  stands for --bootstrap
  PETALS_MODEL      the model of petals chat when none is named; else the one used last
  PETALS_SWARM      stands for --swarm
  PETALS_HOME       a folder for everything that is kept on disk
  HF_ENDPOINT, HF_TOKEN, HF_HOME  as the hub's own tools read them`

/**
 * Sections to print of those that the parser made.
 * @param about what the command does; undefined for the program itself
 */
export function helpSections(
  sections: readonly HelpSection[],
  about: string | undefined
): HelpSection[] {
  const kept = sections
    .slice(1)
    .filter(({ title = '' }) => !title.startsWith('For more info'))
    .map((section) => ({ ...section, body: tidy(section) }))
  const model = kept.some(({ body }) => body.includes('MODEL')) ? [{ body: MODEL }] : []
  const rest =
    about === undefined ? [{ body: MORE }, { title: 'Environment', body: ENVIRONMENT }] : []
  return [{ body: about ?? PITCH }, ...kept, ...model, ...rest, { body: EXIT_HELP }]
}

/** Without the default of options that begin with no-, which the parser makes up. */
function tidy({ title, body }: HelpSection): string {
  const text = body.replaceAll(' (default: true)', '').replaceAll(/ +$/gm, '')
  return title === 'Commands' ? commandLines(text) : text
}

/** What the parser takes as any words, in what they are. */
const WORDS: Readonly<Record<string, string>> = {
  'chat [...words]': 'chat [MODEL] [PROMPT]',
  'swarm [...words]': 'swarm ACTION'
}

function commandLines(body: string): string {
  const rows = body.split('\n').map((line) => {
    const [, name = '', text = ''] = /^ *(.*?) {2,}(.*)$/.exec(line) ?? []
    return [WORDS[name] ?? name.replaceAll(/[<>]/g, ''), text] as const
  })
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`).join('\n')
}
