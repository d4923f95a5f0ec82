// Where DHT nodes are.

export interface Address {
  /** An IPv4 address: the DHT knows no others. */
  readonly host: string
  readonly port: number
}

export function nameOf({ host, port }: Address): string {
  return `${host}:${port}`
}

/** Each once, in order. */
export function distinct(addresses: readonly Address[]): readonly Address[] {
  return [
    ...new Map(addresses.map(({ host, port }) => [`${host}:${port}`, { host, port }])).values()
  ]
}

/** Whether it is an address of this machine or of a network that is not routed. */
export function isLocal(host: string): boolean {
  return /^(127\.|10\.|192\.168\.|169\.254\.|172\.(1[6-9]|2\d|3[01])\.)/.test(host)
}
