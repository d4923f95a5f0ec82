// Whether text on stdin is meant for this chat. A program inherits stdin from its parent: if the
// prompt is given in words, stdin may as well be the lines that a shell loop reads, or nothing at
// all.
import { fstatSync, readFileSync, readlinkSync, type Stats } from 'node:fs'
import { isatty } from 'node:tty'
import { fileOffset } from '../../base/files/file-offset.ts'
import { badInput } from '../../base/errors.ts'

export interface StdinFacts {
  readonly kind: 'terminal' | 'file' | 'pipe' | 'socket' | 'device' | 'folder' | 'none'
  /** For a file: whether somebody has already read from it. */
  readonly isBegun: boolean
  /** For a pipe: whether a shell loop reads lines from it. */
  readonly isLoop: boolean
}

export interface StdinUse {
  readonly isRead: boolean
  /** Why it is not read, if somebody may have meant it to be. */
  readonly note?: string
}

const LEAVE: StdinUse = { isRead: false }

/**
 * Without a prompt in words, stdin is the prompt. With one, a pipe or an unread file is read too; a
 * file that was partly read and a pipe that a loop reads belong to the loop, and a socket or device
 * is left alone.
 * @throws AppError BAD_INPUT for a folder
 */
export function useOfStdin(
  { kind, isBegun, isLoop }: StdinFacts,
  words: string | undefined
): StdinUse {
  if (kind === 'terminal' || kind === 'none') return LEAVE
  if (kind === 'folder') {
    throw badInput('The text on stdin cannot be read: it is a folder', {
      hint: 'Name a file behind <, or leave it out'
    })
  }
  if (words === undefined) return { isRead: true }
  switch (kind) {
    case 'file':
      return isBegun ? LEAVE : { isRead: true }
    case 'pipe':
      return isLoop ? LEAVE : { isRead: true }
    case 'socket':
      return {
        isRead: false,
        note: 'stdin is a socket and is not read beside a prompt in words: send it through a pipe'
      }
    case 'device':
      return LEAVE
    default:
      throw new TypeError(`No use for '${String(kind)}' on stdin`)
  }
}

export function stdinFacts(): StdinFacts {
  const kind = kindOf()
  return {
    kind,
    isBegun: kind === 'file' && fileOffset(0) > 0,
    isLoop: kind === 'pipe' && isReadByShell(process.ppid)
  }
}

function kindOf(): StdinFacts['kind'] {
  if (isatty(0)) return 'terminal'
  let facts: Stats
  try {
    facts = fstatSync(0)
  } catch {
    return 'none'
  }
  if (facts.isFIFO()) return 'pipe'
  if (facts.isSocket()) return 'socket'
  if (facts.isDirectory()) return 'folder'
  return facts.isFile() ? 'file' : 'device'
}

/**
 * Whether the parent is part of a shell that reads lines from our pipe: it has the same stdin, is a
 * fork of its own parent (`... | while read`), and has read since. Only Linux tells; elsewhere the
 * pipe is assumed to be ours.
 */
function isReadByShell(parent: number): boolean {
  try {
    const isSame = readlinkSync('/proc/self/fd/0') === readlinkSync(`/proc/${parent}/fd/0`)
    if (!isSame) return false
    const above = /^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${parent}/status`, 'utf8'))?.[1]
    const words = (pid: string | number): string => readFileSync(`/proc/${pid}/cmdline`, 'utf8')
    if (above === undefined || words(parent) !== words(above)) return false
    const read = /^rchar:\s*(\d+)$/m.exec(readFileSync(`/proc/${parent}/io`, 'utf8'))?.[1]
    return Number(read ?? 0) > 0
  } catch {
    return false
  }
}
