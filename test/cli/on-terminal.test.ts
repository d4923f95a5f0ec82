// On a terminal: `petals rm` asks first, and takes anything but a yes for a no; errors are broken
// at words.
import { expect, test } from 'bun:test'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { storiesGgufBytes } from '../support/models/remote-model.ts'
import { tempFolder } from '../support/temp-folder.ts'

const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')

/** Runs it on a terminal of its own and types `keys` when it asks. */
async function answered(
  home: string,
  keys: string,
  words: readonly string[] = ['rm', 'tiny.gguf']
): Promise<{ code: number; seen: string }> {
  let seen = ''
  const child = Bun.spawn([process.execPath, main, ...words], {
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

/** What a line shows once the cursor has gone back over a word that moves to the next line. */
function shown(line: string): string {
  const [first = '', ...rest] = line.split('\x1b[')
  return rest.reduce((text, part) => {
    const [, back] = /^(\d+)D/.exec(part) ?? []
    const more = part.replace(/^[\d;]*[A-Za-z]/, '')
    return `${back === undefined ? text : text.slice(0, -Number(back))}${more}`
  }, first)
}

test('a long error is broken at words where the terminal would break within them', async () => {
  await using folder = await tempFolder()
  const { code, seen } = await answered(folder.path, '', ['pull', 'nosuch'])
  const lines = seen.trimEnd().split(/[\r\n]+/)
  expect([code, lines.length > 2, lines.map(shown).filter((line) => line.length > 80)]).toEqual([
    3,
    true,
    []
  ])
})
