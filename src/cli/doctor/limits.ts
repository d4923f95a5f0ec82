// Limits that the system puts on this process (ulimit), as far as they stop petals.
import { readFileSync } from 'node:fs'
import { formatBytes } from '../../base/bytes.ts'
import { EXIT } from '../exit.ts'

export interface LimitFacts {
  /** Undefined: unlimited. */
  readonly addressBytes?: number
  readonly openFiles?: number
}

/** As a check of doctor-checks.ts. */
export interface LimitCheck {
  readonly area: 'program'
  readonly name: 'limits'
  readonly state: 'ok' | 'warning' | 'failed'
  readonly found: string
  readonly next?: string
  readonly exit?: number
}

/** Below this the runtime cannot compile code, and no kernel loads; measured, at 3 GiB it runs. */
const LEAST_ADDRESS_BYTES = 3 * 2 ** 30
/** Each peer takes few, each part of a model's file one. */
const LITTLE_OPEN_FILES = 256

/** Of /proc/self/limits; undefined where there is none. */
export function limitFacts(text: string | undefined = readLimits()): LimitFacts | undefined {
  if (text === undefined) return undefined
  const soft = (name: string): number | undefined => {
    const value = new RegExp(`^${name} +(\\d+) `, 'm').exec(text)?.[1]
    return value === undefined ? undefined : Number(value)
  }
  const addressBytes = soft('Max address space')
  const openFiles = soft('Max open files')
  return {
    ...(addressBytes === undefined ? {} : { addressBytes }),
    ...(openFiles === undefined ? {} : { openFiles })
  }
}

export function limitCheck({ addressBytes, openFiles }: LimitFacts): LimitCheck {
  const about = { area: 'program', name: 'limits' } as const
  const address = addressBytes === undefined ? 'any' : formatBytes(addressBytes)
  const files = openFiles === undefined ? 'any number of' : String(openFiles)
  const found = `${address} address space, ${files} open files`
  if (addressBytes !== undefined && addressBytes < LEAST_ADDRESS_BYTES) {
    return {
      ...about,
      state: 'failed',
      found,
      next: 'Lift the first: ulimit -v unlimited',
      exit: EXIT.resources
    }
  }
  if (addressBytes !== undefined) {
    const next = 'Weights are mapped and count in full; for large models: ulimit -v unlimited'
    return { ...about, state: 'warning', found, next }
  }
  if (openFiles !== undefined && openFiles < LITTLE_OPEN_FILES) {
    return { ...about, state: 'warning', found, next: `Allow more files: ulimit -n 4096` }
  }
  return { ...about, state: 'ok', found }
}

function readLimits(): string | undefined {
  try {
    return readFileSync('/proc/self/limits', 'utf8')
  } catch {
    return undefined
  }
}
