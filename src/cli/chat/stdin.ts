// Whether text on stdin is meant for this chat. A program inherits stdin from its parent: if the
// prompt is given in words, stdin may as well be the lines that a shell loop reads, or nothing at
// all.
import { fstatSync, readdirSync, readFileSync, readlinkSync, statSync, type Stats } from 'node:fs'
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

/** Programs between us and a shell: timeout, nice, a script. */
const MOST_ABOVE = 8

/**
 * Whether a shell reads lines from our pipe. It is looked for among those above us that have the
 * same stdin. Only Linux tells; elsewhere the pipe is assumed to be ours.
 */
function isReadByShell(parent: number): boolean {
  try {
    const ours = readlinkSync('/proc/self/fd/0')
    let pid = parent
    for (let i = 0; i < MOST_ABOVE && readlinkSync(`/proc/${pid}/fd/0`) === ours; i++) {
      const above = parentOf(pid)
      if (isReadingFork(pid, above) || hasSavedStdin(pid)) return true
      pid = above
    }
    return false
  } catch {
    return false
  }
}

/** A shell's fork, as `... | while read` makes it, that has read since. */
function isReadingFork(pid: number, above: number): boolean {
  const words = (one: number): string => readFileSync(`/proc/${one}/cmdline`, 'utf8')
  if (words(pid) !== words(above)) return false
  const read = /^rchar:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1]
  return Number(read ?? 0) > 0
}

/**
 * A shell that keeps its own stdin aside while a loop has another, as in `while read; do ...; done
 * < <(...)`: at descriptors from 10 on, which its children do not have. There are its scripts too,
 * which are files; bash has its script at 255.
 */
function hasSavedStdin(pid: number): boolean {
  const isBash = readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === 'bash'
  return readdirSync(`/proc/${pid}/fd`).some((name) => {
    if (Number(name) < 10 || Number(name) >= 255) return false
    const theirs = `/proc/${pid}/fd/${name}`
    if (readlinkSync(theirs) === targetOf(`/proc/self/fd/${name}`)) return false
    return isBash || !statSync(theirs).isFile()
  })
}

function targetOf(link: string): string | undefined {
  try {
    return readlinkSync(link)
  } catch {
    return undefined
  }
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0)
}
