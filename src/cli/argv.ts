// What was typed, made fit for the parser: it drops a lone dash, and takes a value that begins with
// one for an option of its own.

/** `argv` as process.argv has it: the program, its script, the words. */
export function fitArguments(argv: readonly string[]): string[] {
  const words: string[] = []
  for (const word of argv) {
    const before = words.at(-1) ?? ''
    const isInvite = word === '-' && before === '--swarm'
    const isNegative = /^-\d*\.?\d/.test(word) && /^--[a-z][a-z-]*$/.test(before)
    if (isInvite || isNegative) words[words.length - 1] = `${before}=${word}`
    else words.push(word === '-' && words[2] === 'swarm' ? '@-' : word)
  }
  return words
}
