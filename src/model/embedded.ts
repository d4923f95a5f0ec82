// The model files that travel inside the executable. Origin and licence: data/NOTICE.
// In an executable their paths cannot be mapped, so resolve.ts writes them to the cache once.
import checkpoint from './data/stories260K.bin' with { type: 'file' }
import vocabulary from './data/tok512.bin' with { type: 'file' }

const FILES: ReadonlyMap<string, string> = new Map([
  ['stories260K.bin', checkpoint],
  ['tok512.bin', vocabulary]
])

/** Where a file of data/ lies, or undefined when there is none of that name. */
export function embeddedPath(name: string): string | undefined {
  return FILES.get(name)
}

/** Whether a path is inside an executable, where only reading it whole works. */
export function isInsideExecutable(path: string): boolean {
  return path.startsWith('/$bunfs/') || /^[A-Z]:[\\/]~BUN[\\/]/i.test(path)
}
