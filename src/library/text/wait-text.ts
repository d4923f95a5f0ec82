// What is said while an answer stands still because a server is missing.
import type { AppError } from '../../base/errors.ts'

/** @param leftMs until it is given up */
export function waitText(why: AppError, leftMs: number): string {
  const left = `${Math.ceil(leftMs / 1000)} s more`
  if (why.code !== 'NO_ROUTE') return `a server went away; looking for another, ${left}`
  // Only the part after the colon: 'No route through the model: nobody serves blocks 10:20'.
  const news = why.message.slice(why.message.indexOf(': ') + 1).trim()
  return `${news}; waiting for a server, ${left}`
}
