// `petals rm` on a terminal asks first, and takes anything but a yes for a no.
import { expect, test } from 'bun:test'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { storiesGgufBytes } from '../support/models/remote-model.ts'
import { tempFolder } from '../support/temp-folder.ts'

const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')

/** Runs it on a terminal of its own and types `keys` when it asks. */
async function answered(home: string, keys: string): Promise<{ code: number; seen: string }> {
  let seen = ''
  const child = Bun.spawn([process.execPath, main, 'rm', 'tiny.gguf'], {
    env: { ...process.env, PETALS_HOME: home, NO_COLOR: '1' },
    terminal: {
      cols: 80,
      rows: 24,
      data(terminal, bytes) {
        const asked = seen.includes('[y/N]')
        seen += new TextDecoder().decode(bytes)
        if (!asked && seen.includes('[y/N]')) terminal.write(keys)
      }
    }
  })
  const code = await child.exited
  child.terminal?.close()
  return { code, seen }
}

test('rm asks, and removes on a yes alone', async () => {
  await using folder = await tempFolder()
  const home = folder.path
  const place = `cache/models/${'0'.repeat(64)}/tiny.gguf`
  const file = await folder.write(place, await storiesGgufBytes())
  const kept: unknown[] = []
  for (const keys of ['\r', 'n\r', 'yess\r', '\x03', '\x04']) {
    const { code, seen } = await answered(home, keys)
    kept.push([
      code,
      seen.includes('Remove tiny.gguf'),
      seen.includes('nothing is removed'),
      existsSync(file)
    ])
  }
  const no = [0, true, true, true]
  const interrupted = [130, true, false, true]
  expect(kept).toEqual([no, no, no, interrupted, no])
  const { code, seen } = await answered(home, 'y\r')
  expect([code, existsSync(file)]).toEqual([0, false])
  expect(seen).toContain('removed tiny.gguf: ')
}, 120_000)
