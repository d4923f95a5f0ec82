// bun scripts/gpu/provider.ts SCRATCH FOLDER: fetches the wheel of onnxruntime's CUDA provider by
// its pinned hash and lays what the engine needs of it in FOLDER, as --install-cuda would; CUDA's
// own libraries are those of the machine.
import { cpSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import {
  cudaFolder,
  pipArguments,
  pipRequirements,
  providerPath,
  PROVIDERS,
  providerVersions
} from '../../src/blocks/device/cuda-packages.ts'
import { buildInfo } from '../../src/base/version.ts'

const [scratch, folder] = Bun.argv.slice(2)
const version = buildInfo().onnxruntime
if (scratch === undefined || folder === undefined || version === undefined) {
  console.error('provider: needs two folders, and onnxruntime among the packages')
  process.exit(2)
}
mkdirSync(scratch, { recursive: true })
const requirements = join(scratch, 'requirements.txt')
const wheels = pipRequirements(version).split('\n')
writeFileSync(requirements, wheels.filter((line) => line.startsWith('onnxruntime')).join('\n'))
const unpacked = join(scratch, 'all')
const pip = ['python3', '-m', 'pip', '--quiet', ...pipArguments(unpacked, requirements)]
if (Bun.spawnSync(pip, { stdout: 'inherit', stderr: 'inherit' }).exitCode !== 0) process.exit(1)
const kept = cudaFolder(folder, version)
for (const name of PROVIDERS) {
  const path = providerPath(kept, name)
  mkdirSync(dirname(path), { recursive: true })
  cpSync(providerPath(unpacked, name), path)
}
// Its metadata says which version it is.
const metadata = readdirSync(unpacked).find((name) => providerVersions([name]).length > 0) ?? ''
cpSync(join(unpacked, metadata), join(kept, metadata), { recursive: true })
