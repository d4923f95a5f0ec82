// Looks names up that others have chosen: 'constructor' and the like lie in every object, unasked.

/** The entry under a name; undefined when the table itself has none. */
export function lookUp<T>(table: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined
}
