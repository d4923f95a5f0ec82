// What WebGPU needs of the system before the engine tries: its own complaint goes to stderr past our log.
import { unavailable } from '../../base/errors.ts'
import { openGlobally } from '../ort/libc.ts'
import type { DevicePart, LibraryFact } from './cuda.ts'

const VULKAN = 'libvulkan.so.1'

/** The library that leads to a GPU's Vulkan driver; undefined where the system needs none. */
export function vulkanFact(
  platform: string = process.platform,
  open: (path: string) => string | undefined = openGlobally
): LibraryFact | undefined {
  if (platform !== 'linux') return undefined
  return { name: VULKAN, path: VULKAN, reason: open(VULKAN)?.replace(`${VULKAN}: `, '') }
}

/** What must be right of it. */
export function vulkanPart({ name, reason }: LibraryFact): DevicePart {
  if (reason === undefined) return { name, found: 'opens' }
  const found = `cannot be opened (${reason})`
  const fault = unavailable(`WebGPU cannot be used: ${name} ${found}`, {
    hint: "Install libvulkan1 and your GPU's Vulkan driver, or use --device cpu"
  })
  return { name, found, fault }
}
