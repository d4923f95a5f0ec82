// The verdicts of petals doctor: what each fact means, what to do about it, and the resulting exit
// code. Pure; doctor.ts gathers the facts.
import { formatBytes } from '../../base/bytes.ts'
import { cudaParts, type DevicePart } from '../../blocks/device/cuda.ts'
import { driverParts } from '../../blocks/device/cuda-driver.ts'
import { vulkanParts } from '../../blocks/device/webgpu.ts'
import type { DeviceFacts } from '../../blocks/device/examine.ts'
import type { Device } from '../../blocks/types.ts'
import type {
  DeviceReport,
  DoctorFacts,
  FolderFacts,
  NetworkFacts,
  Refusal
} from './doctor-facts.ts'
import { EXIT } from '../exit.ts'
import { limitCheck } from './limits.ts'

/** What a check belongs to: the program and its folders, a device, or the network. */
export type Area = 'program' | Device | 'network'
export type State = 'ok' | 'warning' | 'failed'

export interface Check {
  readonly area: Area
  readonly name: string
  readonly state: State
  /** What was found. */
  readonly found: string
  /** The exact next step, if one is needed. */
  readonly next?: string | undefined
  /** Exit code if it is required and failed. Default 6. */
  readonly exit?: number
}

type Kernels = NonNullable<DeviceFacts['kernels']>

export const DEVICES: readonly Device[] = ['cpu', 'cuda', 'webgpu']

/** Warns below this: a small model takes 0.1 GB, blocks of large ones far more. */
const LITTLE_CACHE_BYTES = 2 ** 30
const LITTLE_DATA_BYTES = 64 * 2 ** 20
const HOME = 'Set PETALS_HOME to a folder that can be written'

/** All checks, in the order in which they are shown. */
export function diagnose(facts: DoctorFacts): Check[] {
  return [
    ...programChecks(facts),
    ...DEVICES.flatMap((device) => {
      const report = facts.devices[device]
      return report ? deviceChecks(device, report) : []
    }),
    ...networkChecks(facts.network, facts.platform)
  ]
}

export interface DeviceVerdict {
  readonly device: Device
  readonly works: boolean
  /** What to fix first. */
  readonly first: Check | undefined
}

/** Whether a device can compute; this includes the program's own checks. */
export function verdictOf(device: Device, checks: readonly Check[]): DeviceVerdict {
  const first = checks.find(
    ({ area, state }) => state === 'failed' && (area === 'program' || area === device)
  )
  return { device, works: first === undefined, first }
}

/** 0 if the CPU, and `device` if one was asked for, can be used. */
export function exitOf(checks: readonly Check[], device: Device | undefined): number {
  const needed: readonly Device[] = device && device !== 'cpu' ? ['cpu', device] : ['cpu']
  const first = needed.map((one) => verdictOf(one, checks).first).find((check) => check)
  return first ? (first.exit ?? EXIT.unavailable) : EXIT.ok
}

export function programChecks(facts: DoctorFacts): Check[] {
  const { build, executable, libraries } = facts
  const area = 'program'
  const program = `petals ${build.version} (${build.commit}) for ${build.target}, '${executable}'`
  const onnxruntime = build.onnxruntime ? `onnxruntime ${build.onnxruntime}, ` : ''
  const runtimes = `bun ${build.bun}, ${onnxruntime}hyperdht ${build.hyperdht}`
  return [
    { area, name: 'program', state: 'ok', found: program },
    { area, name: 'made of', state: 'ok', found: runtimes },
    'reason' in libraries
      ? refused(area, 'libraries', libraries)
      : {
          area,
          name: 'libraries',
          state: 'ok',
          found:
            libraries.folder === undefined
              ? 'compiled from their sources'
              : `unpacked to '${libraries.folder}'`
        },
    ...(facts.limits ? [limitCheck(facts.limits)] : []),
    folderCheck('data folder', facts.data, LITTLE_DATA_BYTES),
    folderCheck('cache folder', facts.cache, LITTLE_CACHE_BYTES),
    ...identityChecks(facts.identities)
  ]
}

function folderCheck(name: string, folder: FolderFacts, littleBytes: number): Check {
  const { path, refusal, freeBytes } = folder
  if (refusal) {
    const { reason, next = HOME, denied } = refusal
    return refused('program', name, {
      reason: `'${path}': ${reason}`,
      next,
      denied: denied ?? false
    })
  }
  const free = freeBytes === undefined ? 'free room unknown' : `${formatBytes(freeBytes)} free`
  const check = { area: 'program', name, found: `'${path}', ${free}` } as const
  if (freeBytes === undefined || freeBytes >= littleBytes) return { ...check, state: 'ok' }
  const next = 'Free some room (petals models, petals rm), or set PETALS_HOME to a larger disk'
  return { ...check, state: 'warning', next }
}

function identityChecks(files: DoctorFacts['identities']): Check[] {
  const about = { area: 'program', name: 'identities' } as const
  const open = files.filter(({ mode }) => (mode & 0o077) !== 0)
  const [first] = open
  if (!first) {
    const count = files.length === 1 ? '1 key' : `${files.length} keys`
    const found = files.length === 0 ? 'none yet' : `${count}, for their owner alone`
    return [{ ...about, state: 'ok', found }]
  }
  return open.map(({ path, mode }) => ({
    ...about,
    // A server would be refused under this key; others are not affected.
    state: 'warning',
    found: `'${path}' has mode ${(mode & 0o777).toString(8)}: others may read or change it`,
    next: `If it is still yours alone: chmod 600 '${path}'`
  }))
}

export function deviceChecks(device: Device, report: DeviceReport): Check[] {
  const { facts, end } = report
  const checks: Check[] = []
  if (facts.kernels) checks.push(kernelsCheck(facts.kernels))
  const parts = facts.cuda ? cudaParts(facts.cuda) : []
  // After the driver's library, before what is downloaded for it.
  if (facts.driver) parts.splice(1, 0, ...driverParts(facts.driver, formatBytes))
  if (facts.vulkan) parts.push(...vulkanParts(facts.vulkan))
  checks.push(...parts.map((part) => partCheck(device, part)))
  // The engine would only repeat an earlier failure.
  const { engine: result, cuda, driver } = facts
  // Its library opens, but it never answered.
  const isDriver = cuda?.driver !== undefined && cuda.driver.reason === undefined && !driver
  const engine = { ...engineCheck(device, result, end), ...(isDriver ? DEAD_DRIVER : {}) }
  if (engine.state === 'ok' || !checks.some(({ state }) => state === 'failed')) checks.push(engine)
  return checks
}

function kernelsCheck({ arithmetic, variant, wanted, warning }: Kernels): Check {
  const check = { area: 'cpu', name: 'kernels' } as const
  const found = `${arithmetic}, ${variant}`
  if (warning !== undefined) {
    const next = 'Report it with the output of petals doctor --json'
    return { ...check, state: 'warning', found: `${found}: ${warning}`, next }
  }
  if (wanted !== undefined) return { ...check, state: 'ok', found: `${found}, as PETALS_CPU says` }
  // Being slow is no fault, but the reason is shown.
  const why =
    variant === 'plain' ? ': slow, as this CPU has no AVX2 (x64) or dot products (arm64)' : ''
  return { ...check, state: 'ok', found: `${found}${why}` }
}

const DEAD_DRIVER = {
  name: 'NVIDIA driver',
  next: 'Install the NVIDIA driver again, of 580 or newer, and restart the machine'
} as const

function partCheck(device: Device, { name, found, fault }: DevicePart): Check {
  const check = { area: device, name, found } as const
  return fault ? { ...check, state: 'failed', next: fault.hint } : { ...check, state: 'ok' }
}

function engineCheck(
  device: Device,
  engine: DeviceReport['facts']['engine'],
  end: DeviceReport['end']
): Check {
  const check = { area: device, name: 'engine' } as const
  if (engine && 'rows' in engine) {
    const found =
      device === 'cpu' ? 'computes' : `computes as the CPU does, ${engine.rows} rows at once`
    return { ...check, state: 'ok', found }
  }
  if (engine) {
    const { message, hint } = engine.fault
    const found = message.replace(/^(CUDA|WebGPU) cannot be used: /, '')
    return { ...check, state: 'failed', found, next: hint ?? instead(device) }
  }
  const found =
    end.kind === 'late'
      ? `does not come to an end within ${Math.round(end.ms / 1000)} s`
      : end.kind === 'died'
        ? `its process died (${end.how})${end.words === '' ? '' : `: ${end.words}`}`
        : 'its process said nothing'
  return { ...check, state: 'failed', found, next: instead(device) }
}

function instead(device: Device): string {
  return device === 'cpu'
    ? 'Report it with the output of petals doctor --json'
    : 'Use --device cpu, and report it with the output of petals doctor --json'
}

export function networkChecks(facts: NetworkFacts, platform: string): Check[] {
  const area = 'network'
  const { socket, dht, hub } = facts
  const checks: Check[] = [socketCheck(socket, platform)]
  if (dht) {
    checks.push(
      'reason' in dht ? { ...refused(area, 'DHT', dht), state: 'warning' } : dhtCheck(dht)
    )
  }
  if (hub) {
    const check = { area, name: 'hub' } as const
    checks.push(
      'reason' in hub
        ? { ...refused(area, 'hub', hub), state: 'warning' }
        : { ...check, state: 'ok', found: `${hub.endpoint} answers in ${Math.round(hub.ms)} ms` }
    )
  }
  return checks
}

function socketCheck(socket: NetworkFacts['socket'], platform: string): Check {
  if ('reason' in socket) return refused('network', 'UDP socket', socket)
  const { receiveBytes, wantedBytes } = socket
  const check = { area: 'network', name: 'UDP socket' } as const
  const found = `receive buffer of ${formatBytes(receiveBytes)}`
  if (receiveBytes >= wantedBytes) return { ...check, state: 'ok', found }
  const next =
    platform === 'linux'
      ? `For more speed: sysctl -w net.core.rmem_max=${wantedBytes}`
      : 'Nothing is wrong with it: fast networks may lose a packet more'
  return {
    ...check,
    state: 'warning',
    found: `${found}, ${formatBytes(wantedBytes)} is wanted`,
    next
  }
}

function dhtCheck({
  from,
  nodes,
  randomized
}: Exclude<NetworkFacts['dht'], Refusal | undefined>): Check {
  const check = { area: 'network', name: 'DHT' } as const
  const found = `joined from ${from}, ${nodes} nodes known`
  if (!randomized) return { ...check, state: 'ok', found }
  return {
    ...check,
    state: 'warning',
    found: `${found}; the NAT here gives every peer another port`,
    next: 'Peers behind such NATs cannot meet each other: forward a UDP port, and give it as --port'
  }
}

function refused(area: Area, name: string, { reason, next, denied }: Refusal): Check {
  const check = { area, name, state: 'failed', found: reason, next } as const
  return denied === true ? { ...check, exit: EXIT.denied } : check
}
