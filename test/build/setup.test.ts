// scripts/setup.sh on machines made for it: a search path with exactly the tools that each test
// names.
import { expect, test } from 'bun:test'
import { copyFile, mkdir, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder, type TempFolder } from '../support/temp-folder.ts'

const root = join(import.meta.dir, '..', '..')
const UTILITIES = ['dirname', 'mkdir', 'ln', 'mv', 'uname', 'cat', 'chmod']

interface Outcome {
  code: number
  stdout: string
  stderr: string
}

/**
 * A project with this one's setup.sh, and a search path with a few utilities and what `tools` says.
 */
async function machine(tools: Record<string, string>): Promise<TempFolder> {
  const folder = await tempFolder()
  await mkdir(join(folder.path, 'project', 'scripts'), { recursive: true })
  await copyFile(join(root, 'scripts/setup.sh'), join(folder.path, 'project/scripts/setup.sh'))
  await mkdir(join(folder.path, 'bin'))
  for (const name of UTILITIES) {
    await symlink(Bun.which(name)!, join(folder.path, 'bin', name))
  }
  for (const [name, script] of Object.entries(tools)) {
    const path = await folder.write(`bin/${name}`, `#!/bin/sh\n${script}\n`)
    Bun.spawnSync(['chmod', '755', path])
  }
  return folder
}

/** Runs a line of shell in the project of a machine, from another folder. */
function sh(folder: TempFolder, line = '/bin/sh "$project/scripts/setup.sh"'): Outcome {
  const { exitCode, stdout, stderr } = Bun.spawnSync(['/bin/sh', '-c', line], {
    cwd: folder.path,
    env: {
      PATH: join(folder.path, 'bin'),
      HOME: folder.path,
      project: join(folder.path, 'project')
    }
  })
  return { code: exitCode, stdout: stdout.toString(), stderr: stderr.toString() }
}

/** A bun of the pinned version that writes down how it is called. */
const BUN = `
case $1 in
  --version) echo ${Bun.version} ;;
  *) printf 'bun %s, %s\\n' "$*" "$ONNXRUNTIME_NODE_INSTALL" >>"$HOME/calls" ;;
esac`

/** An npm that brings what npm brings when install scripts may not run. */
const BLOCKED_NPM = `
echo npm >>"$HOME/calls"
while [ "$1" != --prefix ]; do shift; done
mkdir -p "$2/node_modules/bun/bin" "$2/node_modules/@oven/bun-some-platform/bin"
printf '#!/bin/sh\\necho "The install script was not run" >&2\\nexit 1\\n' >"$2/node_modules/bun/bin/bun.exe"
chmod 755 "$2/node_modules/bun/bin/bun.exe"
ln -s "$HOME/bin/hidden" "$2/node_modules/@oven/bun-some-platform/bin/bun"`

async function callsOf(folder: TempFolder): Promise<string[]> {
  return (await Bun.file(join(folder.path, 'calls')).text()).trimEnd().split('\n')
}

test('without node it says what to install', async () => {
  await using folder = await machine({})
  expect(sh(folder)).toEqual({
    code: 1,
    stdout: '',
    stderr: 'setup: node is not in PATH: install Node.js 20 or newer, which brings npm\n'
  })
})

test('without npm and bun it says what to install', async () => {
  await using folder = await machine({ node: 'exit 0' })
  expect(sh(folder)).toEqual({
    code: 1,
    stdout: '',
    stderr: 'setup: npm is not in PATH: it brings bun; install Node.js\n'
  })
})

test('with the pinned bun in PATH it installs what is locked, and says nothing', async () => {
  await using folder = await machine({ node: 'exit 0', npm: BLOCKED_NPM, bun: BUN })
  expect(sh(folder)).toEqual({ code: 0, stdout: '', stderr: '' })
  expect(await callsOf(folder)).toEqual([
    `bun install --cwd ${folder.path}/project --frozen-lockfile, skip`
  ])
})

test('with another bun, and install scripts blocked, it takes the binary that npm brought', async () => {
  const tools = { node: 'exit 0', npm: BLOCKED_NPM, bun: 'echo 1.0.0', hidden: BUN }
  await using folder = await machine(tools)
  const line = 'root=$project; . "$project/scripts/setup.sh"; bun --version'
  const expected = { code: 0, stdout: `${Bun.version}\n`, stderr: '' }
  expect(sh(folder, line)).toEqual({ ...expected, stderr: 'setup: installing bun 1.4.5\n' })
  expect(sh(folder, line)).toEqual(expected)
  const calls = await callsOf(folder)
  expect(calls.filter((call) => call === 'npm')).toHaveLength(1)
})

test('a failing npm is told with its own message', async () => {
  await using folder = await machine({ node: 'exit 0', npm: 'echo "no network" >&2; exit 1' })
  const { code, stderr } = sh(folder)
  expect(code).toBe(1)
  expect(stderr).toBe(
    'setup: installing bun 1.4.5\nno network\n' +
      'setup: npm could not install bun@1.4.5; its message is above\n'
  )
})

test('dependencies that are not as locked end it with bun’s message', async () => {
  const bun = `${BUN}\n[ "$1" = --version ] || { echo 'lockfile had changes'; exit 1; }`
  await using folder = await machine({ node: 'exit 0', bun })
  expect(sh(folder)).toEqual({
    code: 1,
    stdout: '',
    stderr:
      'lockfile had changes\n' +
      'setup: bun could not install the dependencies; its message is above\n'
  })
})

test('the pinned version is the one that runs these tests', async () => {
  const text = await Bun.file(join(root, 'scripts/setup.sh')).text()
  expect(text).toContain(`setup_bun_version=${Bun.version}\n`)
})
