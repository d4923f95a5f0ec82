// What clients train stays in bounded memory: nothing that serves or computes trainings can write.
import { expect, test } from 'bun:test'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dir, '..', '..', '..', 'src')
const WRITES = /node:fs|Bun\.write|Bun\.file|replace-file|private-file/

test.each(['server/training', 'blocks/train'])('no file of %s writes files', (folder) => {
  const names = readdirSync(join(root, folder)).filter((name) => name.endsWith('.ts'))
  expect(names.length).toBeGreaterThan(1)
  const writing = names.filter((name) =>
    WRITES.test(readFileSync(join(root, folder, name), 'utf8'))
  )
  expect(writing).toEqual([])
})
