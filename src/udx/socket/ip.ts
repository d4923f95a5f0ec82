// Text addresses: which family a host is, and IPv4 addresses hidden in IPv6 ones.

import { isIP } from 'node:net'

const MAPPED_PREFIX = '::ffff:'

/** 4, 6, or 0 when the text is no address. */
export function familyOf(host: string): 4 | 6 | 0 {
  const family = typeof host === 'string' ? isIP(host) : 0
  return family === 4 || family === 6 ? family : 0
}

/** @throws when the text is no address. */
export function requireFamily(host: string): 4 | 6 {
  const family = familyOf(host)
  if (family === 0) throw new Error(`${host} is not a valid IP address`)
  return family
}

/** A source address as the application is told: an IPv4-mapped one is plain IPv4. */
export function plainAddress(address: string): string {
  return address.startsWith(MAPPED_PREFIX) && address.includes('.', MAPPED_PREFIX.length)
    ? address.slice(MAPPED_PREFIX.length)
    : address
}

/** Family of an address the kernel reported. */
export function plainFamily(address: string): 4 | 6 {
  return address.includes(':') ? 6 : 4
}
