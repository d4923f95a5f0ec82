// Scripts that make shells complete what is typed, made from the commands' own declarations.
import { ALIASES } from '../../model/aliases.ts'
import { type Command, type Option, typedName } from '../command.ts'
import { GLOBAL_OPTIONS } from '../common-options.ts'

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

interface TypedOption {
  /** Without its dashes. */
  readonly name: string
  readonly help: string
  /** What the value is; undefined: there is none. */
  readonly value: string | undefined
  readonly choices: readonly string[]
}

export function completionScript(shell: Shell, commands: readonly Command[]): string {
  switch (shell) {
    case 'bash':
      return bashScript(commands)
    case 'zsh':
      return zshScript(commands)
    case 'fish':
      return fishScript(commands)
    default:
      throw new TypeError(`No completions for '${String(shell)}'`)
  }
}

export function optionsOf(options: Readonly<Record<string, Option>>): TypedOption[] {
  return Object.entries(options).map(([key, option]) => ({
    name: option.kind === 'off' ? `no-${typedName(key)}` : typedName(key),
    help: option.help,
    value: option.kind === 'text' || option.kind === 'list' ? option.value : undefined,
    choices: option.kind === 'text' ? (option.choices ?? []) : []
  }))
}

function allOptions(command: Command): TypedOption[] {
  return optionsOf({ ...command.options, ...GLOBAL_OPTIONS })
}

/** Names that a word behind a command may be, beside files. */
function modelNames({ words, choices }: Command): readonly string[] {
  return choices.length === 0 && words.includes('MODEL') ? ALIASES.map(({ name }) => name) : []
}

const isPath = ({ value }: TypedOption): boolean => value === 'file' || value === 'folder'

function bashScript(commands: readonly Command[]): string {
  const cases = commands.map((command) => {
    const options = allOptions(command)
    const dashed = (those: readonly TypedOption[]): string =>
      those.map(({ name }) => `--${name}`).join('|')
    const chosen = options
      .filter(({ choices }) => choices.length > 0)
      .map((one) => `        --${one.name}) words="${one.choices.join(' ')}" ;;`)
    const paths = options.filter(isPath)
    const free = options.filter(
      (one) => one.value !== undefined && one.choices.length === 0 && !isPath(one)
    )
    const { name, choices } = command
    return [
      `    ${name})`,
      '      case $prev in',
      ...(choices.length > 0 ? [`        ${name}) words="${choices.join(' ')}" ;;`] : []),
      ...chosen,
      ...(paths.length > 0 ? [`        ${dashed(paths)}) files=1 ;;`] : []),
      ...(free.length > 0 ? [`        ${dashed(free)}) return ;;`] : []),
      '        *)',
      `          if [[ $cur == -* ]]; then words="${options.map(({ name }) => `--${name}`).join(' ')}"`,
      `          else words="${modelNames(command).join(' ')}"; files=1; fi ;;`,
      '      esac ;;'
    ].join('\n')
  })
  const names = commands.map(({ name }) => name).join(' ')
  const globals = optionsOf(GLOBAL_OPTIONS).map(({ name }) => `--${name}`)
  // Options may stand before the command, and their values are none.
  const valued = commands.flatMap(allOptions).filter(({ value }) => value !== undefined)
  const skipped = [...new Set(valued.map(({ name }) => `--${name}`))].join('|')
  return `# petals completion bash > ~/.local/share/bash-completion/completions/petals
_petals() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} words= files= command= word skip=
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [[ -n $skip ]]; then skip=; continue; fi
    case $word in
      ${skipped}) skip=1 ;;
      -*) ;;
      *) command=$word; break ;;
    esac
  done
  case $command in
${cases.join('\n')}
    *) words="${names} ${globals.join(' ')}" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  if [[ -n $files ]]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY+=($(compgen -f -- "$cur"))
  fi
}
complete -F _petals petals ./petals
`
}

function zshScript(commands: readonly Command[]): string {
  const cases = commands.map((command) => {
    const { choices } = command
    const models = modelNames(command)
    const action =
      models.length > 0
        ? `_alternative 'words:word:(${models.join(' ')})' 'files:file:_files'`
        : '_files'
    return [
      `        ${command.name})`,
      '          _arguments \\',
      ...allOptions(command).map((one) => `            ${zshOption(one)} \\`),
      ...(choices.length > 0
        ? [`            ${zshQuoted(`1:word:(${choices.join(' ')})`)} \\`]
        : []),
      `            ${zshQuoted(`*:word:{ ${action} }`)} ;;`
    ].join('\n')
  })
  const list = commands.map(({ name, about }) => `    ${zshQuoted(`${name}:${about}`)}`)
  const globals = optionsOf(GLOBAL_OPTIONS).map((one) => `    ${zshOption(one)} \\`)
  // Options may stand before the command; those behind it are its own.
  return `#compdef petals
# petals completion zsh > a folder of $fpath, as _petals
_petals() {
  local -a commands=(
${list.join('\n')}
  )
  local curcontext=$curcontext state line
  _arguments -C \\
${globals.join('\n')}
    '(-): :->command' \\
    '(-)*:: :->words' && return
  case $state in
    command) _describe command commands ;;
    words)
      case $words[1] in
${cases.join('\n')}
      esac ;;
  esac
}
_petals "$@"
`
}

function zshOption(one: TypedOption): string {
  const help = one.help.replaceAll(/[[\]:\\]/g, (mark) => `\\${mark}`)
  const values =
    one.choices.length > 0 ? `(${one.choices.join(' ')})` : isPath(one) ? '_files' : ' '
  const value = one.value === undefined ? '' : `:${one.value.replaceAll(':', '\\:')}:${values}`
  return zshQuoted(`*--${one.name}[${help}]${value}`)
}

function zshQuoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

function fishScript(commands: readonly Command[]): string {
  const lines = commands.flatMap((command) => {
    const behind = `-n '__fish_seen_subcommand_from ${command.name}'`
    const models = modelNames(command).join(' ')
    const choices = command.choices.join(' ')
    const isFirst = `-n '__fish_seen_subcommand_from ${command.name}; and not __fish_seen_subcommand_from ${choices}'`
    return [
      `complete -c petals -n __fish_use_subcommand -f -a ${command.name} -d ${fishQuoted(command.about)}`,
      ...(choices === '' ? [] : [`complete -c petals ${isFirst} -f -a '${choices}'`]),
      ...(models === '' ? [] : [`complete -c petals ${behind} -a '${models}'`]),
      ...optionsOf(command.options).map((one) => `complete -c petals ${behind} ${fishOption(one)}`)
    ]
  })
  const globals = optionsOf(GLOBAL_OPTIONS).map((one) => `complete -c petals ${fishOption(one)}`)
  return [
    '# petals completion fish > ~/.config/fish/completions/petals.fish',
    ...globals,
    ...lines,
    ''
  ].join('\n')
}

function fishOption(one: TypedOption): string {
  const values = one.choices.length > 0 ? ` -f -a '${one.choices.join(' ')}'` : ''
  const takes = one.value === undefined ? '' : isPath(one) ? ' -r -F' : ` -x${values}`
  return `-l ${one.name}${takes} -d ${fishQuoted(one.help)}`
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
