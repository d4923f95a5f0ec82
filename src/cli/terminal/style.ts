// What a terminal can show: whether its cursor can be moved, and whether it has colours.

export interface Environment {
  readonly [name: string]: string | undefined
}

/** Whether escape sequences move the cursor: not with TERM=dumb, and only on a terminal. */
export function hasCursor(isTTY: boolean | undefined, env: Environment): boolean {
  return isTTY === true && env['TERM'] !== 'dumb'
}

export interface Style {
  /** Less bright: text that is not part of the conversation. */
  dim(text: string): string
  /** Brighter: what the user said. */
  bold(text: string): string
}

/** NO_COLOR set to anything means no styles at all (no-color.org). */
export function styleFor(isTTY: boolean | undefined, env: Environment): Style {
  const plain = (text: string): string => text
  if (!hasCursor(isTTY, env) || env['NO_COLOR']) return { dim: plain, bold: plain }
  return { dim: (text) => `\x1b[2m${text}\x1b[22m`, bold: (text) => `\x1b[1m${text}\x1b[22m` }
}
