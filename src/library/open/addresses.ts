// Addresses of DHT nodes as people write them.
import { isIPv4, isIPv6 } from 'node:net'
import { badInput, unavailable } from '../../base/errors.ts'
import type { Address } from '../surroundings.ts'

interface NamedAddress {
  readonly name: string
  readonly port: number
}

/** `H:P[,H:P]`, where H may be a name yet. @throws AppError BAD_INPUT */
export function parseAddresses(value: string | undefined): NamedAddress[] {
  if (value === undefined) return []
  return value.split(',').map((typed) => {
    const text = typed.trim()
    const at = text.lastIndexOf(':')
    const name = text.slice(0, at)
    const port = Number(text.slice(at + 1))
    if (isIPv6(name.replace(/^\[(.*)\]$/, '$1')) || isIPv6(text)) {
      throw badInput(`The bootstrap address '${text}' cannot be used: it is IPv6`, {
        hint: 'The DHT speaks IPv4: give the IPv4 address of that machine, or its name'
      })
    }
    const isName = isIPv4(name) || (HOST_NAME.test(name) && !/^[\d.]+$/.test(name))
    if (!isName || !/^\d{1,5}$/.test(text.slice(at + 1)) || port < 1 || port > 65_535) {
      throw badInput(`The bootstrap address '${text}' cannot be used`, {
        hint: 'Give an address and a port as `petals bootstrap` prints them: 127.0.0.1:49737'
      })
    }
    return { name, port }
  })
}

const HOST_NAME =
  /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?$/i

/** The IPv4 address of a host name; undefined: it has none. */
export type LookUp = (name: string) => Promise<string | undefined>

/**
 * `H:P[,H:P]` as addresses.
 * @throws AppError BAD_INPUT, or UNAVAILABLE for a name without an address
 */
export async function resolveAddresses(
  value: string | undefined,
  lookUp: LookUp = systemLookUp
): Promise<Address[]> {
  return Promise.all(
    parseAddresses(value).map(async ({ name, port }) => {
      if (isIPv4(name)) return { host: name, port }
      if (name === 'localhost') return { host: '127.0.0.1', port }
      const host = await lookUp(name)
      if (host !== undefined) return { host, port }
      throw unavailable(
        `The bootstrap node '${name}' cannot be found: the name has no IPv4 address`,
        {
          hint: 'See whether the name is right and this machine is online'
        }
      )
    })
  )
}

async function systemLookUp(name: string): Promise<string | undefined> {
  const { lookup } = await import('node:dns/promises')
  return lookup(name, { family: 4 }).then(
    ({ address }) => address,
    () => undefined
  )
}
