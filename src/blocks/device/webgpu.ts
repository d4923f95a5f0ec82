// Checks what WebGPU needs on Linux before the engine tries: Vulkan's loader, a driver, a GPU. The
// engine would only say that there is no adapter, and prints its complaints to stderr past our log.
import { dlopen, ptr } from 'bun:ffi'
import { unavailable, type AppError } from '../../base/errors.ts'
import { openGlobally } from '../ort/libc.ts'
import type { DevicePart } from './cuda.ts'

export const VULKAN = 'libvulkan.so.1'

/** The functions that are called. Those that can fail return a VkResult, 0 for success. */
export interface Vulkan {
  vkCreateInstance(info: Uint8Array, out: BigUint64Array): number
  vkEnumeratePhysicalDevices(
    instance: bigint,
    count: Uint32Array,
    out: BigUint64Array | null
  ): number
  vkGetPhysicalDeviceProperties(device: bigint, out: Uint8Array): void
  vkDestroyInstance(instance: bigint): void
}

export interface VulkanFacts {
  /** Why the loader cannot be opened; undefined if it is open. */
  readonly reason?: string | undefined
  /** Names of GPUs, or of software that emulates one. */
  readonly devices: readonly string[]
  /** The first call that failed. */
  readonly failure?: { readonly call: string; readonly code: number }
}

// VkInstanceCreateInfo with only its type set: no layers and no extensions.
const CREATE_INFO_BYTES = 64
const CREATE_INFO_TYPE = 1
// VkPhysicalDeviceProperties has 824 bytes; the name follows five numbers.
const PROPERTIES_BYTES = 1024
const NAME_AT = 20
const NAME_BYTES = 256
/** An upper bound for GPUs of one machine. */
const MOST_DEVICES = 64
/** VK_INCOMPLETE: there are more devices than fit the array. */
const INCOMPLETE = 5

/** Looks for GPUs; never throws. Undefined where WebGPU does not use Vulkan. */
export function vulkanFacts(
  platform: string = process.platform,
  open: (path: string) => string | undefined = openGlobally,
  load: () => Vulkan = loadVulkan
): VulkanFacts | undefined {
  if (platform !== 'linux') return undefined
  const reason = open(VULKAN)?.replace(`${VULKAN}: `, '')
  if (reason !== undefined) return { reason, devices: [] }
  const failed = (call: string, code: number): VulkanFacts => ({
    devices: [],
    failure: { call, code }
  })
  const vulkan = load()
  const info = new Uint8Array(CREATE_INFO_BYTES)
  info[0] = CREATE_INFO_TYPE
  const made = new BigUint64Array(1)
  const created = vulkan.vkCreateInstance(info, made)
  if (created !== 0) return failed('vkCreateInstance', created)
  const instance = made[0] ?? 0n
  try {
    const handles = new BigUint64Array(MOST_DEVICES)
    const count = Uint32Array.of(MOST_DEVICES)
    const listed = vulkan.vkEnumeratePhysicalDevices(instance, count, handles)
    if (listed !== 0 && listed !== INCOMPLETE) return failed('vkEnumeratePhysicalDevices', listed)
    const found = handles.subarray(0, Math.min(count[0] ?? 0, MOST_DEVICES))
    return { devices: Array.from(found, (handle) => nameOf(vulkan, handle)) }
  } finally {
    vulkan.vkDestroyInstance(instance)
  }
}

function nameOf(vulkan: Vulkan, device: bigint): string {
  const properties = new Uint8Array(PROPERTIES_BYTES)
  vulkan.vkGetPhysicalDeviceProperties(device, properties)
  const name = properties.subarray(NAME_AT, NAME_AT + NAME_BYTES)
  const end = name.indexOf(0)
  return new TextDecoder().decode(end < 0 ? name : name.subarray(0, end))
}

const DRIVER_HINT = "Install your GPU's Vulkan driver, or use --device cpu"
const INCOMPATIBLE_DRIVER = -9

/** The requirements, in the order in which to fix them. */
export function vulkanParts({ reason, devices, failure }: VulkanFacts): DevicePart[] {
  if (reason !== undefined) {
    const found = `cannot be opened (${reason})`
    const hint = "Install libvulkan1 and your GPU's Vulkan driver, or use --device cpu"
    return [{ name: VULKAN, found, fault: refusal(`${VULKAN} ${found}`, hint) }]
  }
  const loader = { name: VULKAN, found: 'opens' }
  const name = 'Vulkan driver'
  if (failure || devices.length === 0) {
    const { call = 'vkEnumeratePhysicalDevices', code = 0 } = failure ?? {}
    const what =
      code === INCOMPATIBLE_DRIVER
        ? 'there is no Vulkan driver'
        : code === 0
          ? 'no Vulkan driver has a GPU'
          : 'the Vulkan driver refuses'
    const found = `${what} (${call}: ${code})`
    return [loader, { name, found, fault: refusal(found, DRIVER_HINT) }]
  }
  return [loader, { name, found: devices.join(', ') }]
}

/** @throws AppError UNAVAILABLE for the first fault */
export function requireVulkan(facts: VulkanFacts | undefined = vulkanFacts()): void {
  const fault = facts && vulkanParts(facts).find((part) => part.fault)?.fault
  if (fault) throw fault
}

function refusal(what: string, hint: string): AppError {
  return unavailable(`WebGPU cannot be used: ${what}`, { hint })
}

function loadVulkan(): Vulkan {
  const { symbols } = dlopen(VULKAN, {
    vkCreateInstance: { args: ['ptr', 'ptr', 'ptr'], returns: 'i32' },
    vkEnumeratePhysicalDevices: { args: ['u64', 'ptr', 'ptr'], returns: 'i32' },
    vkGetPhysicalDeviceProperties: { args: ['u64', 'ptr'], returns: 'void' },
    vkDestroyInstance: { args: ['u64', 'ptr'], returns: 'void' }
  })
  return {
    vkCreateInstance: (info, out) => symbols.vkCreateInstance(ptr(info), null, ptr(out)),
    vkEnumeratePhysicalDevices: (instance, count, out) =>
      symbols.vkEnumeratePhysicalDevices(instance, ptr(count), out && ptr(out)),
    vkGetPhysicalDeviceProperties: (device, out) =>
      symbols.vkGetPhysicalDeviceProperties(device, ptr(out)),
    vkDestroyInstance: (instance) => symbols.vkDestroyInstance(instance, null)
  }
}
