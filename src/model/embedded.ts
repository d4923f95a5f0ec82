// The model files inside the executable. Origin and licence: data/NOTICE. There they cannot be
// mapped, so resolve.ts writes them to the cache once.
import checkpoint from './data/stories260K.bin' with { type: 'file' }
import vocabulary from './data/tok512.bin' with { type: 'file' }

const FILES: ReadonlyMap<string, string> = new Map([
  ['stories260K.bin', checkpoint],
  ['tok512.bin', vocabulary]
])

/** Path of a file of data/, or undefined if there is none of that name. */
export function embeddedPath(name: string): string | undefined {
  return FILES.get(name)
}

/** Whether a path is inside an executable, where a file can only be read whole. */
export function isInsideExecutable(path: string): boolean {
  return path.startsWith('/$bunfs/') || /^[A-Z]:[\\/]~BUN[\\/]/i.test(path)
}
