// Stands in for pip: lays small files where CUDA's wheels would lie, or does what its first
// argument says.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import {
  CUDA_LIBRARIES,
  PROVIDERS,
  providerPath
} from '../../../src/blocks/device/cuda-packages.ts'

const [mode = '', log = '', ...args] = process.argv.slice(2)
const list = args[args.indexOf('--requirement') + 1] ?? ''
writeFileSync(log, JSON.stringify([...args, ...readFileSync(list, 'utf8').split('\n')]))
if (mode === 'no-pip') {
  console.error('/usr/bin/python3: No module named pip')
  process.exit(1)
}
if (mode === 'fail') {
  console.error('WARNING: nothing\nERROR: Could not find a version\n[notice] a new pip is out')
  process.exit(1)
}
const folder = args[args.indexOf('--target') + 1] ?? ''
const lay = (path: string): void => {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, mode)
}
for (const name of PROVIDERS) lay(providerPath(folder, name))
if (mode === 'hang') await new Promise(() => setInterval(() => {}, 1000))
const version = mode === 'other' ? '1.29.0' : '1.30.0'
lay(join(folder, `onnxruntime_gpu-${version}.dist-info`, 'METADATA'))
const libraries = mode === 'half' ? CUDA_LIBRARIES.slice(0, 2) : CUDA_LIBRARIES
for (const name of libraries) lay(join(folder, 'nvidia', 'cu13', 'lib', name))
