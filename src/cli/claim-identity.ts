// The identity of a server on this machine. Several servers that run at once are different peers,
// and a server that is restarted is the same peer as before. Two processes with one key would take
// each other's links.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { inUse } from '../base/errors.ts'
import { folderError } from '../base/files/file-error.ts'
import { tryFileLock } from '../base/files/file-lock.ts'
import { loadIdentity, type Identity } from '../swarm/identity.ts'
import type { Context } from './context.ts'

export interface Claimed {
  readonly identity: Identity
  release(): Promise<void>
}

// More servers of one model on one machine are a mistake.
const MOST = 256

/**
 * The identity in `folder`, or the first one of this model that no other process uses.
 * @throws AppError IN_USE if another process uses `folder`
 */
export async function claimIdentity(
  folder: string | undefined,
  model: string,
  context: Context
): Promise<Claimed> {
  if (folder !== undefined) {
    const claimed = await claim(String(folder))
    if (claimed) return claimed
    throw inUse(`The identity in '${String(folder)}' is used by another process`, {
      hint: 'Give each server a folder of its own with --identity'
    })
  }
  const name = model.replaceAll(/[^a-zA-Z0-9.-]+/g, '_').slice(-64)
  for (let number = 1; number <= MOST; number++) {
    const claimed = await claim(join(context.paths.data, 'identities', `${name}-${number}`))
    if (claimed) return claimed
  }
  throw inUse(`${MOST} servers of '${model}' run here already`)
}

async function claim(folder: string): Promise<Claimed | undefined> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw folderError(`The identity cannot be kept in '${folder}'`, cause, {
      hint: 'Set PETALS_HOME, or --identity, to a folder that can be written'
    })
  }
  const release = await tryFileLock(join(folder, 'lock'))
  if (!release) return undefined
  try {
    return { identity: await loadIdentity(folder), release }
  } catch (error) {
    await release()
    throw error
  }
}
