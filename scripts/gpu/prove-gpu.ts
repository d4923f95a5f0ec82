// The proof that scripts/prove-gpu.sh runs; compiled by it into one executable, which needs no bun.
//   prove-gpu --device cuda|webgpu|onnx-cpu --folder DIR [--root .] [--cuda DIR] [--bandwidth 4e12]
//   prove-gpu petals ...     is the program itself, for the servers of the chat
// Each part says what was found, with its bound. Exits with 1 when one failed.
import { mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { embedded } from '../../src/base/embedded.ts'
import { proveChat } from './chat.ts'
import { Tally, type Place, type ProvenDevice } from './device.ts'
import { proveFamilies } from './families.ts'
import { proveSpeed } from './speed.ts'
import { proveTraining } from './training.ts'

const DEVICES: readonly ProvenDevice[] = ['cuda', 'webgpu', 'onnx-cpu']

async function prove(): Promise<number> {
  const { values } = parseArgs({
    args: process.argv.slice(2),
    options: {
      device: { type: 'string', default: 'onnx-cpu' },
      folder: { type: 'string', default: '.cache/gpu/work' },
      root: { type: 'string', default: '.' },
      cuda: { type: 'string' },
      bandwidth: { type: 'string' }
    }
  })
  const device = DEVICES.find((one) => one === values.device)
  if (device === undefined) {
    console.error(`prove-gpu: --device is one of ${DEVICES.join(', ')}`)
    return 2
  }
  const place: Place = {
    device,
    root: resolve(values.root),
    folder: resolve(values.folder),
    cudaDir: values.cuda === undefined ? undefined : resolve(values.cuda),
    bandwidth: values.bandwidth === undefined ? undefined : Number(values.bandwidth)
  }
  mkdirSync(place.folder, { recursive: true })
  const tally = new Tally()
  const own = embedded ? [process.execPath] : [process.execPath, Bun.main]
  const parts: [string, () => Promise<void>][] = [
    ['blocks of every family beside the CPU', () => proveFamilies(place, tally)],
    ['training beside the CPU', () => proveTraining(place, tally)],
    ['a chat over two kinds of servers', () => proveChat(place, tally, [...own, 'petals'])],
    ['speed', () => proveSpeed(place, tally)]
  ]
  for (const [name, part] of parts) {
    console.log(`== ${name}, ${device}`)
    // What fails before its first check has failed, and the others go on.
    await part().catch((error: unknown) =>
      tally.check(name, () =>
        Promise.reject(error instanceof Error ? error : new Error(String(error)))
      )
    )
  }
  console.log(`${tally.passed} passed, ${tally.failed} failed`)
  return tally.failed === 0 ? 0 : 1
}

if (process.argv[2] === 'petals') {
  process.argv.splice(2, 1)
  await import('../../src/cli/main.ts')
} else {
  process.exit(await prove())
}
