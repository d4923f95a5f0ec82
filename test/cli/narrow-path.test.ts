// A path that carries less than 1,200 bytes a packet, as tunnels do: everything still arrives. In a
// network namespace, whose loopback is made so narrow; root on Linux.
import { expect, test } from 'bun:test'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Program } from '../../scripts/processes.ts'
import { tempFolder } from '../support/temp-folder.ts'

const main = join(import.meta.dir, '..', '..', 'src', 'cli', 'main.ts')
const MS = 120_000
const isPossible =
  process.platform === 'linux' &&
  Bun.which('ip') !== null &&
  Bun.which('unshare') !== null &&
  Bun.spawnSync(['unshare', '--net', 'ip', 'link', 'set', 'lo', 'up', 'mtu', '576']).exitCode === 0

const SCRIPT = `
trap 'kill $boot $server' EXIT
ip link set lo up mtu 576
PETALS_HOME=$PWD/boot $P bootstrap --port 49001 &
boot=$!
PETALS_HOME=$PWD/server $P join stories260k --blocks 0:5 --threads 1 2> log &
server=$!
until grep -q '^ready' log; do kill -0 $server && sleep 0.1; done
for here in none all; do
  echo '<answer>'
  PETALS_HOME=$PWD/client $P chat stories260k --raw --here $here --temperature 0 --max-tokens 8 "$PROMPT"
done
`

test.skipIf(!isPossible)(
  'a chat over a path of 576 bytes a packet is answered',
  async () => {
    await using folder = await tempFolder()
    await mkdir(join(folder.path, 'here'))
    const env = {
      ...process.env,
      P: `${process.execPath} ${main}`,
      // Its hidden states fill many packets.
      PROMPT: 'Once upon a time there was a girl. '.repeat(20),
      PETALS_BOOTSTRAP: '127.0.0.1:49001'
    }
    const words = ['unshare', '--net', 'sh', '-c', SCRIPT]
    await using program = new Program(words, { cwd: join(folder.path, 'here'), env })
    const { code, stdout, stderr } = await program.end(MS)
    expect({ code, stderr }).toMatchObject({ code: 0 })
    const [, over = '', own = ''] = stdout.split('<answer>\n')
    expect(over.length).toBeGreaterThan(10)
    expect(over).toBe(own)
  },
  MS
)
