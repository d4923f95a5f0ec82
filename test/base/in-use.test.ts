// A file that a process uses is told from one that nobody does, for as long as it has it open.
import { expect, test } from 'bun:test'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { isInUse, markInUse } from '../../src/base/files/in-use.ts'
import { openMappedFile } from '../../src/model/formats/mapped-file.ts'
import { tempFolder } from '../support/temp-folder.ts'

test.skipIf(process.platform === 'win32')(
  'a file is in use until the last who opened it ends',
  async () => {
    await using folder = await tempFolder()
    const path = join(folder.path, 'weights')
    await Bun.write(path, 'weights')
    expect([isInUse(path), isInUse(join(folder.path, 'none'))]).toEqual([false, false])
    const [first, second] = [openMappedFile(path), openMappedFile(path)]
    expect(isInUse(path)).toBe(true)
    first.close()
    expect(isInUse(path)).toBe(true)
    second.close()
    expect(isInUse(path)).toBe(false)
    // Another process too, which is killed.
    const code = `const { markInUse } = await import('${join(import.meta.dir, '../../src/base/files/in-use.ts')}')
    markInUse(require('node:fs').openSync('${path}', 'r'))
    console.log('open')
    setInterval(() => {}, 1000)`
    const child = Bun.spawn([process.execPath, '-e', code], { stdout: 'pipe' })
    await child.stdout.getReader().read()
    expect(isInUse(path)).toBe(true)
    child.kill('SIGKILL')
    await child.exited
    expect(isInUse(path)).toBe(false)
    const file = openSync(path, 'r')
    markInUse(file)
    expect(isInUse(path)).toBe(true)
    closeSync(file)
  }
)
