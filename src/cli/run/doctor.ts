// `petals doctor`: checks what petals needs of this machine and says what to fix first. It must run
// where nothing else does, so whatever may fail is tried, and loaded only then.
import { mkdir, readdir, stat, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { formatBytes } from '../../base/bytes.ts'
import { embedded } from '../../base/embedded.ts'
import { cancelled, toAppError } from '../../base/errors.ts'
import { folderError } from '../../base/files/file-error.ts'
import { stderrProgress } from '../terminal/stderr.ts'
import { buildInfo } from '../../base/version.ts'
import { errorRecord } from '../../blocks/messages.ts'
import type { Device } from '../../blocks/types.ts'
import { systemFreeBytes } from '../../model/hub/download.ts'
import type { Context } from '../context.ts'
import { cudaRoot } from '../../library/open/cuda-root.ts'
import { DEVICES, diagnose, exitOf } from '../doctor/doctor-checks.ts'
import { probeDevice, type ProbeOptions } from '../doctor/doctor-device.ts'
import type { DeviceReport, DoctorFacts, FolderFacts } from '../doctor/doctor-facts.ts'
import { dhtFacts, hubFacts, socketFacts } from '../doctor/doctor-network.ts'
import { doctorReport, doctorText } from '../doctor/doctor-text.ts'
import { hubOptions } from '../../library/open/hub-env.ts'
import { installCuda } from '../doctor/install-cuda.ts'
import { limitFacts } from '../doctor/limits.ts'
import {
  kernelFolder,
  noOnnxruntime,
  onnxruntimeFolder
} from '../../library/open/native-folders.ts'
import { parseChoice } from '../options.ts'
import { print } from '../output.ts'

export interface DoctorFlags {
  bootstrap?: string | undefined
  device?: string | undefined
  offline?: boolean | undefined
  json?: boolean | undefined
  installCuda?: boolean | undefined
}

/** Most identities that are checked. */
const MOST_IDENTITIES = 1000

/** Returns the exit code: 0 if the CPU, and --device, can be used. */
export async function runDoctor(flags: DoctorFlags, context: Context): Promise<number> {
  const device = parseChoice<Device>('device', flags.device, DEVICES)
  const progress = stderrProgress()
  let facts: DoctorFacts
  try {
    if (flags.installCuda === true) {
      const { paths, log, signal } = context
      const root = cudaRoot(paths)
      const onbytes = (bytes: number): void =>
        progress.update(`fetching CUDA's libraries: ${formatBytes(bytes)} on the disk so far`)
      const version = buildInfo().onnxruntime
      if (version === undefined) throw noOnnxruntime(buildInfo())
      await installCuda({ root, version, log, signal, onbytes })
    }
    facts = await gather(flags.offline === true, context, (what) => progress.update(what))
  } finally {
    progress.done()
  }
  if (context.signal.aborted) throw cancelled('The examination was cancelled')
  const checks = diagnose(facts)
  const json = flags.json === true
  const text = json
    ? `${JSON.stringify(doctorReport(checks, device), undefined, 2)}\n`
    : doctorText(checks)
  return (await print(text)) || exitOf(checks, device)
}

async function gather(
  offline: boolean,
  context: Context,
  onstage: (what: string) => void
): Promise<DoctorFacts> {
  const { paths, signal } = context
  onstage('looking at folders')
  const libraries = unpacked(paths.cache)
  const [data, cache] = [await folderFacts(paths.data), await folderFacts(paths.cache)]
  const identities = await identityModes(join(paths.data, 'identities'))
  const devices: Partial<Record<Device, DeviceReport>> = {}
  if ('folder' in libraries) {
    const folders = { kernelDir: libraries.folder, cudaDir: cudaRoot(paths) }
    for (const device of DEVICES) {
      if (signal.aborted) break
      onstage(`trying ${device}`)
      devices[device] = await examined(device, { ...folders, signal }, paths.cache)
    }
  }
  onstage(offline ? 'trying a socket' : 'trying the DHT and the hub')
  const [socket, dht, hub] = await Promise.all([
    socketFacts(),
    offline ? undefined : dhtFacts(context.bootstrap),
    offline ? undefined : hubFacts(await hubOptions(context.env), signal)
  ])
  return {
    platform: process.platform,
    build: buildInfo(),
    executable: embedded ? process.execPath : Bun.main,
    libraries,
    limits: limitFacts(),
    data,
    cache,
    identities,
    devices,
    network: { socket, ...(dht ? { dht } : {}), ...(hub ? { hub } : {}) }
  }
}

/** A device other than the CPU needs onnxruntime unpacked. */
async function examined(
  device: Device,
  options: ProbeOptions,
  cache: string
): Promise<DeviceReport> {
  if (device === 'cpu') return probeDevice(device, options)
  try {
    return await probeDevice(device, { ...options, libraryDir: onnxruntimeFolder(cache) })
  } catch (thrown) {
    return { facts: { engine: { fault: errorRecord(toAppError(thrown)) } }, end: { kind: 'done' } }
  }
}

function unpacked(cache: string): DoctorFacts['libraries'] {
  try {
    return { folder: kernelFolder(cache) }
  } catch (thrown) {
    const { message, hint, code } = toAppError(thrown)
    return { reason: message, next: hint, denied: code === 'DENIED' }
  }
}

/** Whether the folder can be written; it is created, as every command would. */
export async function folderFacts(path: string): Promise<FolderFacts> {
  const trial = join(path, `.doctor-${process.pid}`)
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
    await writeFile(trial, '', { mode: 0o600 })
    await unlink(trial)
  } catch (cause) {
    const { message, code } = folderError('nothing can be written', cause)
    return { path, refusal: { reason: message, denied: code === 'DENIED' } }
  }
  return { path, freeBytes: await systemFreeBytes(path).catch(() => undefined) }
}

async function identityModes(folder: string): Promise<{ path: string; mode: number }[]> {
  // Windows has no such bits.
  if (process.platform === 'win32') return []
  const names = await readdir(folder).catch(() => [])
  const found: { path: string; mode: number }[] = []
  for (const name of names.slice(0, MOST_IDENTITIES).sort()) {
    const path = join(folder, name, 'identity')
    const { mode } = (await stat(path).catch(() => undefined)) ?? {}
    if (mode !== undefined) found.push({ path, mode })
  }
  return found
}
