// What is said of Vulkan, on one that the test makes up.
import { expect, test } from 'bun:test'
import {
  requireVulkan,
  vulkanFacts,
  vulkanParts,
  type Vulkan,
  type VulkanFacts
} from '../../src/blocks/device/webgpu.ts'

interface Made {
  gpus?: readonly string[]
  created?: number
  listed?: number
  claims?: number
}

function vulkan(
  { gpus = ['Radeon'], created = 0, listed = 0, claims }: Made,
  log: string[]
): Vulkan {
  return {
    vkCreateInstance(info, out) {
      log.push(`create ${info[0]}`)
      out[0] = 77n
      return created
    },
    vkEnumeratePhysicalDevices(instance, count, out) {
      expect([instance, count[0], out?.length]).toEqual([77n, 64, 64])
      for (const i of gpus.keys()) if (out) out[i] = BigInt(i)
      count[0] = claims ?? gpus.length
      return listed
    },
    vkGetPhysicalDeviceProperties(device, out) {
      new TextEncoder().encodeInto(gpus[Number(device)] ?? '', out.subarray(20))
    },
    vkDestroyInstance: (instance) => void log.push(`destroy ${instance}`)
  }
}

function facts(made: Made, log: string[] = []): VulkanFacts | undefined {
  return vulkanFacts(
    'linux',
    () => undefined,
    () => vulkan(made, log)
  )
}

test('GPUs are named, and what was made is given back', () => {
  const log: string[] = []
  expect(facts({ gpus: ['Radeon', 'llvmpipe'] }, log)).toEqual({ devices: ['Radeon', 'llvmpipe'] })
  expect(log).toEqual(['create 1', 'destroy 77'])
})

test('a hostile count of GPUs is no more than was asked for', () => {
  expect(facts({ claims: 2 ** 30, listed: 5 })?.devices.length).toBe(64)
})

test('Vulkan is asked for on Linux alone', () => {
  expect(vulkanFacts('darwin', () => 'not found')).toBeUndefined()
})

test('a missing loader, a missing driver and a missing GPU are told apart, each with its next step', () => {
  const found = [
    vulkanFacts('linux', () => 'libvulkan.so.1: no such file'),
    facts({ created: -9 }),
    facts({ created: -3 }),
    facts({ gpus: [] })
  ].map((one) => vulkanParts(one ?? { devices: [] }).at(-1))
  expect(found.map((part) => [part?.name, part?.found])).toEqual([
    ['libvulkan.so.1', 'cannot be opened (no such file)'],
    ['Vulkan driver', 'there is no Vulkan driver (vkCreateInstance: -9)'],
    ['Vulkan driver', 'the Vulkan driver refuses (vkCreateInstance: -3)'],
    ['Vulkan driver', 'no Vulkan driver has a GPU (vkEnumeratePhysicalDevices: 0)']
  ])
  expect(found.every((part) => part?.fault?.hint?.startsWith('Install'))).toBe(true)
})

test('requireVulkan() throws the first fault and is content with any GPU', () => {
  expect(() => requireVulkan(facts({ created: -9 }))).toThrow(
    'WebGPU cannot be used: there is no Vulkan driver (vkCreateInstance: -9)'
  )
  requireVulkan(facts({}))
})
