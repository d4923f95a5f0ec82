// `petals` alone, as somebody types it who knows nothing yet.
import { expect, setDefaultTimeout, test } from 'bun:test'
import { join } from 'node:path'
import { tempFolder } from '../support/temp-folder.ts'

setDefaultTimeout(60_000)

const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')

test('says what is here and what to type next, and ends with 0', async () => {
  await using folder = await tempFolder()
  // A bootstrap node that nobody answers at: the greeting does not wait for it.
  const env = { ...process.env, PETALS_HOME: folder.path, PETALS_BOOTSTRAP: '127.0.0.1:9' }
  const run = Bun.spawn([process.execPath, main], { env, stdout: 'pipe', stderr: 'pipe' })
  const text = await new Response(run.stdout).text()
  expect(await run.exited).toBe(0)
  expect(text).toContain('Here: no models yet')
  expect(text).toContain('Served on this network: nothing that answers')
  expect(text).toContain('petals chat smollm2-135m')
  expect(text).toContain('petals up smollm2-135m')
})
