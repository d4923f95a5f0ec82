// `petals service` over a supervisor that notes what it is told: what is written, for whose eyes,
// and that nothing is left.
import { expect, test } from 'bun:test'
import { chmod, mkdir, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Program, type Ending } from '../../../scripts/processes.ts'
import { tempFolder } from '../../support/temp-folder.ts'

const main = join(import.meta.dir, '..', '..', '..', 'src', 'cli', 'main.ts')

test.skipIf(process.platform !== 'linux')(
  'a server is installed with its invite in a private file, shown, and taken away whole',
  async () => {
    await using folder = await tempFolder()
    const [home, bin] = [join(folder.path, 'home'), join(folder.path, 'bin')]
    const noted = join(folder.path, 'noted')
    await mkdir(bin)
    await Bun.write(
      join(bin, 'systemctl'),
      `#!/bin/sh\necho "$@" >> '${noted}'\ntest "$2" != is-active || test -f '${noted}.up'\n`
    )
    await chmod(join(bin, 'systemctl'), 0o755)
    const run = async (words: readonly string[], input = ''): Promise<Ending> => {
      const env = {
        PATH: `${bin}:/usr/bin:/bin`,
        HOME: home,
        PETALS_HOME: join(home, 'petals'),
        PETALS_BOOTSTRAP: '127.0.0.1:49737'
      }
      await using program = new Program([process.execPath, main, ...words], { env, input })
      return await program.end(60_000)
    }
    const none = await run(['service', 'status'])
    expect([none.code, none.stdout]).toEqual([
      0,
      'No service is installed: petals service install MODEL\n'
    ])
    await run(['swarm', 'create', 'ours'])
    const invite = (await run(['swarm', 'invite', 'ours', '--may', 'serve'])).stdout.trim()
    await Bun.write(join(home, 'petals', 'config.toml'), '[join]\nmemory = "1g"\nthreads = 7\n')
    const words = ['service', 'install', 'stories260k', '--blocks', '0:5', '--swarm', '-']
    const done = await run([...words, '--metrics-port', '9400'], invite)
    expect([done.code, done.stderr.includes(invite.slice(0, 40))]).toEqual([0, false])
    expect(done.stderr).toContain('petals-stories260k.service is installed and started')

    // A value in the unit would hide later changes of the file.
    expect(done.stderr).toContain('what config.toml says holds for it too, each time it starts')
    const unit = join(home, '.config', 'systemd', 'user', 'petals-stories260k.service')
    const secret = join(home, 'petals', 'services', 'stories260k.invite')
    const text = await readFile(unit, 'utf8')
    const expected = ['--blocks', '0:5', '--bootstrap', '127.0.0.1:49737', '--swarm', `@${secret}`]
    expect(text).toContain(
      `"join" "stories260k" ${expected.map((word) => `"${word}"`).join(' ')} "--metrics-port" "9400"`
    )
    expect(text).toContain(`Environment="PETALS_HOME=${join(home, 'petals')}"`)
    expect(text.includes(invite.slice(0, 40))).toBe(false)
    expect(text).not.toMatch(/--memory|--threads/)
    expect((await readFile(secret, 'utf8')).trim()).toBe(invite)
    expect((await stat(secret)).mode & 0o777).toBe(0o600)
    expect((await readFile(noted, 'utf8')).trimEnd().split('\n')).toEqual([
      '--user daemon-reload',
      '--user enable petals-stories260k.service',
      '--user restart petals-stories260k.service'
    ])

    expect((await run(['service', 'status'])).stdout).toStartWith('stories260k: not running')
    await Bun.write(`${noted}.up`, '')
    expect((await run(['service', 'status', 'stories260k'])).stdout).toStartWith(
      'stories260k: running, serves stories260k\n'
    )
    expect((await run(['service', 'status', 'other'])).code).toBe(3)
    expect((await run(['service', 'remove'])).code).toBe(0)
    expect(await readFile(noted, 'utf8')).toContain('disable --now petals-stories260k.service')
    expect([
      await Bun.file(unit).exists(),
      await readdir(join(home, 'petals', 'services'))
    ]).toEqual([false, []])

    const guest = (await run(['swarm', 'invite', 'ours', '--may', 'chat'])).stdout.trim()
    const refused = await run(['service', 'install', 'stories260k', '--swarm', guest])
    expect(refused.code).toBe(8)
    await Bun.write(join(bin, 'systemctl'), '#!/bin/sh\necho no bus >&2\nexit 1\n')
    const failed = await run(['service', 'install', 'stories260k'])
    expect([failed.code, failed.stderr.includes('no bus')]).toEqual([6, true])
  },
  120_000
)
