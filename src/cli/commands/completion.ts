// Declares `petals completion SHELL` and `petals man`, which are made of all declarations.
import { type Command, command } from '../command.ts'

const SHELL_WORDS = ['bash', 'zsh', 'fish']

/** @param all the commands, these among them; asked when it runs */
export function completion(all: () => readonly Command[]): Command {
  return command<object>({
    name: 'completion',
    words: '<SHELL>',
    choices: SHELL_WORDS,
    about: 'What makes bash, zsh or fish complete commands and options',
    options: {},
    examples: ['source <(petals completion bash)'],
    async run([shell = '']) {
      const { runCompletion } = await import('../run/completion.ts')
      return runCompletion(shell, all())
    }
  })
}

export function man(all: () => readonly Command[]): Command {
  return command<object>({
    name: 'man',
    about: 'The manual, for man to show',
    options: {},
    examples: ['petals man | man -l -'],
    async run() {
      const { runMan } = await import('../run/completion.ts')
      return runMan(all())
    }
  })
}
