// Addresses of this machine, for options that say where to listen.
import { isIPv4 } from 'node:net'
import { networkInterfaces } from 'node:os'
import { badInput } from '../../base/errors.ts'

/** IPv4 addresses of this machine, loopback among them. */
export function ownAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((addresses) =>
    (addresses ?? []).filter(({ family }) => family === 'IPv4').map(({ address }) => address)
  )
}

/**
 * Sockets can listen at the machine's own addresses, at all of loopback, and at 0.0.0.0, which is
 * all of them.
 * @throws AppError BAD_INPUT
 */
export function requireOwnAddress(
  name: string,
  value: string,
  own: readonly string[] = ownAddresses()
): void {
  const hint = `Give an address of this machine: ${['0.0.0.0 for all', ...own].join(', ')}`
  if (!isIPv4(value))
    throw badInput(`--${name} cannot be '${value}': it is no IPv4 address`, { hint })
  if (value === '0.0.0.0' || value.startsWith('127.') || own.includes(value)) return
  throw badInput(`--${name} cannot be '${value}': this machine has no such address`, { hint })
}
