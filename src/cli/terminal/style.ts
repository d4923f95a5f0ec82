// What a terminal can show: whether its cursor can be moved, and whether there are colours.

export interface Environment {
  readonly [name: string]: string | undefined
}

/** Whether escape sequences move the cursor: not of TERM=dumb, and not of what is no terminal. */
export function hasCursor(isTTY: boolean | undefined, env: Environment): boolean {
  return isTTY === true && env['TERM'] !== 'dumb'
}

export interface Style {
  /** Less bright: what is not part of the conversation. */
  dim(text: string): string
  /** Brighter: what the person said. */
  bold(text: string): string
}

/** NO_COLOR, when it is set to anything, means no styles at all (no-color.org). */
export function styleFor(isTTY: boolean | undefined, env: Environment): Style {
  const plain = (text: string): string => text
  if (!hasCursor(isTTY, env) || env['NO_COLOR']) return { dim: plain, bold: plain }
  return { dim: (text) => `\x1b[2m${text}\x1b[22m`, bold: (text) => `\x1b[1m${text}\x1b[22m` }
}
