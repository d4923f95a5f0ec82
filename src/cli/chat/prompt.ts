// The prompt of a chat that answers once: its words, and stdin if that is meant for it (stdin.ts).
import { badInput } from '../../base/errors.ts'
import type { Context } from '../context.ts'
import { joinPrompt, readOpenFile, readPiped, readTexts } from './input.ts'
import { fieldsIn, fillTemplate } from '../pipe/prompt-template.ts'
import { stdinFacts, useOfStdin } from './stdin.ts'

export interface PromptOptions {
  /** From the command line; undefined if there were none. */
  words: string | undefined
  /** Raw prompts may be blank. */
  raw: boolean
  /** Paths of --file. */
  files?: readonly string[] | undefined
  /** Of --prompt-template. */
  template?: string | undefined
}

/** @throws AppError BAD_INPUT if there is none */
export async function readPrompt(
  { words, raw, files: paths = [], template }: PromptOptions,
  context: Context
): Promise<string> {
  const files = readTexts(paths)
  const facts = stdinFacts()
  const isAlone = words === undefined && files.length === 0
  const use = useOfStdin(facts, isAlone ? undefined : (words ?? ''))
  if (use.note !== undefined) context.log.info(use.note)
  const waitingFor = isAlone
    ? 'waiting for a prompt on stdin'
    : 'waiting for text on stdin, which goes behind the prompt; < /dev/null for none'
  const read = async (): Promise<string | undefined> => {
    if (!use.isRead) return undefined
    if (facts.kind === 'file') return readOpenFile(0)
    return await readPiped(process.stdin, {
      signal: context.signal,
      onsilence: () => context.tell(`${waitingFor}\n`)
    })
  }
  const piped = await read()
  const prompt =
    template === undefined
      ? joinPrompt({ words, piped, files })
      : fillTemplate(template, {
          ...(piped === undefined ? {} : fieldsIn(piped.replace(/\r?\n$/, ''))),
          ...(words === undefined ? {} : { prompt: words })
        })
  if (prompt !== undefined && (prompt.trim() !== '' || raw)) return prompt
  throw badInput('There is no prompt', {
    hint: 'Give one as an argument, or through a pipe: echo "Why is the sky blue?" | petals chat MODEL'
  })
}
