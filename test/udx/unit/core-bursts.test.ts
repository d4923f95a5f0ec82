import { expect, test } from 'bun:test'
import { FakeNetwork, createDie, createPattern } from './fake-network.ts'

const RTT_MS = 50
const CHUNK_BYTES = 38_000

for (const seed of [11, 41]) {
  test(`a sender of chunks now and then goes on learning what the path takes, seed ${seed}`, () => {
    const die = createDie(seed)
    const network = new FakeNetwork({ delayMs: RTT_MS / 2, jitterMs: 4 }, seed)
    const [left, right] = network.createPair()
    let written = 0
    const write = (bytes: number): void => {
      left.core.write(createPattern(bytes))
      written += bytes
    }
    // As a server that computes for a while, then sends: what arrives is what it gave, not what the
    // path takes.
    for (let prompt = 0; prompt < 3; prompt++) {
      for (let chunk = 0; chunk < 16; chunk++) {
        write(CHUNK_BYTES)
        network.advance(10 + die() * die() * 200)
      }
      for (let token = 0; token < 5; token++) {
        write(1300)
        network.advance(130)
      }
    }
    expect(left.core.sender.congestion.startup).toBe(true)
    network.advance(1000)
    const began = network.now()
    write(16 * CHUNK_BYTES)
    network.advance(60_000, () => right.receivedBytes === written)
    expect((network.now() - began) / RTT_MS).toBeLessThan(4)
  })
}
