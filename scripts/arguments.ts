// What a script was given: its options, or why they cannot be used. `--help` prints the script's
// head, which says the command and what it does.
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { parseArgs, type ParseArgsConfig } from 'node:util'

/** The comment that a source begins with, without its slashes. */
export function headOf(source: string): string {
  const lines = source.split('\n')
  const end = lines.findIndex((line) => !line.startsWith('//') && !line.startsWith('#!'))
  return lines
    .slice(0, end < 0 ? lines.length : end)
    .filter((line) => line.startsWith('//'))
    .map((line) => line.replace(/^\/\/ ?/, ''))
    .join('\n')
}

/**
 * As parseArgs of node:util, of what was typed. Ends the process with 0 behind `--help`, and with 2
 * where something else was typed than the script takes.
 * @param path of the script
 */
export function scriptArguments<T extends ParseArgsConfig>(
  path: string,
  config: T
): ReturnType<typeof parseArgs<T>> {
  if (Bun.argv.slice(2).some((word) => word === '--help' || word === '-h')) {
    console.log(headOf(readFileSync(path, 'utf8')))
    process.exit(0)
  }
  try {
    return parseArgs(config)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    console.error(`${basename(path)}: ${why}\n  --help says what it takes`)
    process.exit(2)
  }
}
