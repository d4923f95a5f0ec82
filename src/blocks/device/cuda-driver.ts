// What the NVIDIA driver reports about itself and its GPUs, through libcuda's C API. A broken
// driver may crash the process, so examine.ts calls this in a process of its own.
import { dlopen, ptr } from 'bun:ffi'
import { unavailable, type AppError } from '../../base/errors.ts'
import { DRIVER, type DevicePart } from './cuda.ts'

/** The functions that are called. Each returns a CUresult, 0 for success. */
export interface CudaDriver {
  cuInit(flags: number): number
  cuDriverGetVersion(out: Int32Array): number
  cuDeviceGetCount(out: Int32Array): number
  cuDeviceGet(out: Int32Array, index: number): number
  cuDeviceGetName(out: Uint8Array, length: number, device: number): number
  cuDeviceGetAttribute(out: Int32Array, attribute: number, device: number): number
  cuDeviceTotalMem(out: BigUint64Array, device: number): number
}

export interface CudaDevice {
  readonly index: number
  readonly name: string
  /** Compute capability, e.g. '9.0'. */
  readonly capability: string
  readonly memoryBytes: number
}

export interface DriverFacts {
  /** The newest CUDA version that the driver supports, e.g. '13.0'. */
  readonly version?: string
  readonly devices: readonly CudaDevice[]
  /** The first call that failed. */
  readonly failure?: { readonly call: string; readonly code: number }
}

const CAPABILITY_MAJOR = 75
const CAPABILITY_MINOR = 76
const NAME_BYTES = 256
/** An upper bound for GPUs of one machine. */
const MOST_DEVICES = 64
/** CUDA's major version that the engine's provider is built for. */
const NEEDED_MAJOR = 13
/** CUDA 13 has kernels from Turing on. */
const LEAST_CAPABILITY = 7.5

/** Calls the driver until a call fails; never throws. */
export function driverFacts(open: () => CudaDriver = openDriver): DriverFacts {
  const devices: CudaDevice[] = []
  let version: string | undefined
  const failed = (call: string, code: number): DriverFacts => ({
    ...(version === undefined ? {} : { version }),
    devices,
    failure: { call, code }
  })
  let driver: CudaDriver
  try {
    driver = open()
  } catch {
    return failed(DRIVER, -1)
  }
  const number = new Int32Array(1)
  // A driver too old to be initialised still reports its version.
  if (driver.cuDriverGetVersion(number) === 0) version = versionText(number[0] ?? 0)
  const started = driver.cuInit(0)
  if (started !== 0) return failed('cuInit', started)
  const counted = driver.cuDeviceGetCount(number)
  if (counted !== 0) return failed('cuDeviceGetCount', counted)
  const count = Math.max(0, Math.min(number[0] ?? 0, MOST_DEVICES))
  for (let index = 0; index < count; index++) {
    const device = describe(driver, index)
    if ('failure' in device) return failed(device.failure.call, device.failure.code)
    devices.push(device)
  }
  return { ...(version === undefined ? {} : { version }), devices }
}

function describe(
  driver: CudaDriver,
  index: number
): CudaDevice | { failure: { call: string; code: number } } {
  const handle = new Int32Array(1)
  const name = new Uint8Array(NAME_BYTES)
  const [major, minor] = [new Int32Array(1), new Int32Array(1)]
  const memory = new BigUint64Array(1)
  const at = (): number => handle[0] ?? 0
  const calls: readonly (readonly [string, () => number])[] = [
    ['cuDeviceGet', () => driver.cuDeviceGet(handle, index)],
    ['cuDeviceGetName', () => driver.cuDeviceGetName(name, NAME_BYTES - 1, at())],
    ['cuDeviceGetAttribute', () => driver.cuDeviceGetAttribute(major, CAPABILITY_MAJOR, at())],
    ['cuDeviceGetAttribute', () => driver.cuDeviceGetAttribute(minor, CAPABILITY_MINOR, at())],
    ['cuDeviceTotalMem', () => driver.cuDeviceTotalMem(memory, at())]
  ]
  for (const [call, make] of calls) {
    const code = make()
    if (code !== 0) return { failure: { call, code } }
  }
  const end = name.indexOf(0)
  return {
    index,
    name: new TextDecoder().decode(name.subarray(0, end < 0 ? NAME_BYTES : end)),
    capability: `${major[0] ?? 0}.${minor[0] ?? 0}`,
    memoryBytes: Number(memory[0])
  }
}

/** Requirements on a driver that can be opened, and on its GPUs. */
export function driverParts(facts: DriverFacts, show: (bytes: number) => string): DevicePart[] {
  const { version, devices, failure } = facts
  const parts: DevicePart[] = []
  if (version !== undefined) parts.push(versionPart(version))
  if (failure) return [...parts, failurePart(failure)]
  if (devices.length === 0) return [...parts, failurePart({ call: 'cuDeviceGetCount', code: 100 })]
  const able = devices.some(isAble)
  for (const device of devices) {
    const found = `${device.name}, compute capability ${device.capability}, ${show(device.memoryBytes)}`
    const name = `GPU ${device.index}`
    const fault = refusal(
      `GPU ${device.index} is older than CUDA ${NEEDED_MAJOR} knows`,
      'Use --device webgpu'
    )
    // Another GPU of the machine is good enough.
    if (able || isAble(device)) parts.push({ name, found })
    else parts.push({ name, found: `${found}: older than ${LEAST_CAPABILITY}`, fault })
  }
  return parts
}

function isAble({ capability }: CudaDevice): boolean {
  return Number(capability) >= LEAST_CAPABILITY
}

function versionPart(version: string): DevicePart {
  const name = 'NVIDIA driver'
  const found = `runs CUDA up to ${version}`
  if (Number(version.split('.')[0]) >= NEEDED_MAJOR) return { name, found }
  const fault = refusal(`the driver ${found}, and ${NEEDED_MAJOR}.0 is needed`, NEWER)
  return { name, found: `${found}, and ${NEEDED_MAJOR}.0 is needed`, fault }
}

const NEWER = 'Install an NVIDIA driver of 580 or newer'

/** CUresult by number: what it means and what to do. */
const FAILURES: Readonly<Record<number, readonly [string, string]>> = {
  [-1]: ['has not the calls of a driver', NEWER],
  3: ['the driver is not started', 'Load its kernel module: modprobe nvidia'],
  34: ['it is a stub to link against, no driver', NEWER],
  35: ['the driver is older than its library', NEWER],
  46: ['a GPU is not available', 'See what uses it: nvidia-smi'],
  100: [
    'there is no GPU',
    'Use --device cpu; in a container, pass the GPU in (docker run --gpus all)'
  ],
  101: ['there is no GPU of this number', 'See which there are: nvidia-smi'],
  802: ['the system is not ready yet', 'Start the NVIDIA fabric manager, or wait for it'],
  803: ["the kernel's module and the library are of different versions", 'Restart the machine'],
  804: ['this GPU cannot use the compatibility package', `${NEWER} in the place of cuda-compat`],
  999: ['the driver is in an unknown state', 'Restart the machine, then look at dmesg']
}

function failurePart({ call, code }: { call: string; code: number }): DevicePart {
  const [meaning, hint] = FAILURES[code] ?? ['the driver refuses', 'See what it says: nvidia-smi']
  const found = code < 0 ? `${call} ${meaning}` : `${meaning} (${call}: error ${code})`
  return { name: 'GPUs', found, fault: refusal(found, hint) }
}

function refusal(what: string, hint: string): AppError {
  return unavailable(`CUDA cannot be used: ${what}`, { hint })
}

/** 13020 is 13.2. */
function versionText(number: number): string {
  return `${Math.floor(number / 1000)}.${Math.floor((number % 1000) / 10)}`
}

function openDriver(): CudaDriver {
  const { symbols } = dlopen(DRIVER, {
    cuInit: { args: ['u32'], returns: 'i32' },
    cuDriverGetVersion: { args: ['ptr'], returns: 'i32' },
    cuDeviceGetCount: { args: ['ptr'], returns: 'i32' },
    cuDeviceGet: { args: ['ptr', 'i32'], returns: 'i32' },
    cuDeviceGetName: { args: ['ptr', 'i32', 'i32'], returns: 'i32' },
    cuDeviceGetAttribute: { args: ['ptr', 'i32', 'i32'], returns: 'i32' },
    cuDeviceTotalMem_v2: { args: ['ptr', 'i32'], returns: 'i32' }
  })
  return {
    cuInit: (flags) => symbols.cuInit(flags),
    cuDriverGetVersion: (out) => symbols.cuDriverGetVersion(ptr(out)),
    cuDeviceGetCount: (out) => symbols.cuDeviceGetCount(ptr(out)),
    cuDeviceGet: (out, index) => symbols.cuDeviceGet(ptr(out), index),
    cuDeviceGetName: (out, length, device) => symbols.cuDeviceGetName(ptr(out), length, device),
    cuDeviceGetAttribute: (out, attribute, device) =>
      symbols.cuDeviceGetAttribute(ptr(out), attribute, device),
    cuDeviceTotalMem: (out, device) => symbols.cuDeviceTotalMem_v2(ptr(out), device)
  }
}
