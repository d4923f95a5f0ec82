// A node that is there before anybody else.
import { expect, test } from 'bun:test'
import { startBootstrap } from '../../src/swarm/dht/bootstrap.ts'
import { createIdentity } from '../../src/swarm/identity.ts'
import { SwarmNode } from '../../src/swarm/node.ts'

/** An address where nobody is, for now. */
async function quietAddress(): Promise<{ host: string; port: number }> {
  const there = await startBootstrap({ port: 0 })
  const { host, port } = there
  await there.close()
  return { host, port }
}

test('a node that waits joins as soon as somebody answers', async () => {
  const address = await quietAddress()
  const tries = Promise.withResolvers<void>()
  const log = {
    debug: (line: string) => void (line.includes('trying again') && tries.resolve()),
    info() {},
    warn() {},
    error() {}
  }
  const common = { bootstrap: [address], identity: createIdentity(), log }
  await using node = new SwarmNode({ ...common, waits: true })
  const joined = node.ready()
  await tries.promise
  const { host, port } = address
  const late = await startBootstrap({ host, port })
  await joined
  expect([node.opened, node.dht.toArray().length > 0]).toEqual([true, true])
  await node.close()
  await late.close()
}, 60_000)

test('close() ends the waiting', async () => {
  const address = await quietAddress()
  const node = new SwarmNode({ bootstrap: [address], identity: createIdentity(), waits: true })
  const joined = node.ready().then(
    () => 'joined',
    () => 'ended'
  )
  await node.close()
  expect(await joined).toBe('ended')
}, 60_000)

test('a node that does not wait says that nobody answers', async () => {
  const address = await quietAddress()
  await using node = new SwarmNode({ bootstrap: [address], identity: createIdentity() })
  expect(node.ready()).rejects.toMatchObject({ code: 'UNAVAILABLE' })
  await node.ready().catch(() => {})
}, 60_000)
