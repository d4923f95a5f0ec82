// Circles among imports: files that can only be read together. Types count, since a reader follows
// them, too. Knows no rooms and no files on the disk; layers.ts hands in who imports whom.

/** One sentence for each knot of files that import each other, with a shortest way round it. */
export function circleFaults(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const faults: string[] = []
  const told = new Set<string>()
  for (const start of [...imports.keys()].sort()) {
    if (told.has(start)) continue
    const circle = shortestCircle(start, imports)
    if (!circle) continue
    for (const path of knotOf(start, imports)) told.add(path)
    faults.push(`${start}:1: imports go in a circle: ${[...circle, start].join(' -> ')}`)
  }
  return faults
}

/** The files of a shortest way from `start` back to itself, `start` first. */
function shortestCircle(
  start: string,
  imports: ReadonlyMap<string, readonly string[]>
): string[] | undefined {
  const cameFrom = new Map<string, string>()
  const queue = [start]
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    for (const next of imports.get(path) ?? []) {
      if (next === start) return wayTo(path, cameFrom)
      if (cameFrom.has(next)) continue
      cameFrom.set(next, path)
      queue.push(next)
    }
  }
  return undefined
}

/** All files that `start` leads to and that lead back to it. */
function knotOf(start: string, imports: ReadonlyMap<string, readonly string[]>): string[] {
  const importers = new Map<string, string[]>()
  for (const [path, all] of imports) {
    for (const one of all) importers.set(one, [...(importers.get(one) ?? []), path])
  }
  const behind = reached(start, importers)
  return [...reached(start, imports)].filter((path) => behind.has(path))
}

function reached(start: string, steps: ReadonlyMap<string, readonly string[]>): Set<string> {
  const found = new Set([start])
  for (const path of found) for (const next of steps.get(path) ?? []) found.add(next)
  return found
}

function wayTo(end: string, cameFrom: ReadonlyMap<string, string>): string[] {
  const way = [end]
  for (let at = cameFrom.get(end); at !== undefined; at = cameFrom.get(at)) way.unshift(at)
  return way
}
