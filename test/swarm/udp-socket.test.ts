import { expect, test } from 'bun:test'
import { trySocket } from '../../src/swarm/dht/udp-socket.ts'

test('a socket can be opened, tells what it takes at once, and Linux counts twice', async () => {
  const [linux, other] = [await trySocket('linux'), await trySocket('darwin')]
  expect(linux.receiveBytes).toBeGreaterThan(0)
  expect([linux.receiveBytes * 2, linux.wantedBytes]).toEqual([other.receiveBytes, 4 * 2 ** 20])
})
