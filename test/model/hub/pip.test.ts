// pip is the machine's own, whatever lies in the folder that one stands in.
import { expect, test } from 'bun:test'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { tempFolder } from '../../support/temp-folder.ts'

test.skipIf(Bun.which('python3') === null)(
  'a pip.py of the current folder, or of PYTHONPATH, is not run',
  async () => {
    await using folder = await tempFolder()
    const ran = join(folder.path, 'ran')
    await folder.write('pip.py', `open(${JSON.stringify(ran)}, 'w').close()`)
    await folder.write('own/file', '')
    const module = JSON.stringify(join(import.meta.dir, '../../../src/model/hub/pip.ts'))
    const own = JSON.stringify(join(folder.path, 'own'))
    const code = `
      const { runPip } = await import(${module})
      const end = (error) => console.log(error?.code ?? 'done')
      await runPip(['--version'], { what: 'it', temporary: ${own} }).then(end, end)`
    const child = Bun.spawn([process.execPath, '-e', code], {
      cwd: folder.path,
      env: { ...process.env, PYTHONPATH: folder.path },
      stdout: 'pipe'
    })
    // A Python without pip is UNAVAILABLE; what counts is whose pip was run.
    expect(['done', 'UNAVAILABLE']).toContain((await new Response(child.stdout).text()).trim())
    expect(existsSync(ran)).toBe(false)
  }
)
