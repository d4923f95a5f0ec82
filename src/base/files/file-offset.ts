// Where a descriptor that was handed to the program stands in its file.
import { openLibc } from '../c-library.ts'

const FROM_HERE = 1

/** Bytes before the next read of an open file; 0 where the system does not tell. */
export function fileOffset(descriptor: number): number {
  if (process.platform === 'win32') return 0
  try {
    const { lseek } = openLibc<{ lseek: (file: number, by: bigint, from: number) => bigint }>({
      lseek: { args: ['i32', 'i64', 'i32'], returns: 'i64' }
    })
    return Math.max(0, Number(lseek(descriptor, 0n, FROM_HERE)))
  } catch {
    return 0
  }
}
