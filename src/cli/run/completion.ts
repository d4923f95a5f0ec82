// `petals completion SHELL` and `petals man`: what other programs know of the commands.
import { badInput } from '../../base/errors.ts'
import { buildInfo } from '../../base/version.ts'
import type { Command } from '../command.ts'
import { EXITS } from '../exit.ts'
import { ENVIRONMENT } from '../help.ts'
import { print } from '../output.ts'
import { completionScript, SHELLS } from '../shell/completions.ts'
import { manPage } from '../shell/man-page.ts'

export async function runCompletion(given: string, commands: readonly Command[]): Promise<number> {
  const shell = SHELLS.find((one) => one === given)
  if (shell === undefined) {
    throw badInput(`There are no completions for '${given}'`, {
      hint: `Give one of ${SHELLS.join(', ')}`
    })
  }
  return await print(completionScript(shell, commands))
}

export async function runMan(commands: readonly Command[]): Promise<number> {
  const { version } = buildInfo()
  return await print(manPage(commands, { version, environment: ENVIRONMENT, exits: EXITS }))
}
