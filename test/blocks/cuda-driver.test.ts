// What is said of an NVIDIA driver, on one that the test makes up.
import { expect, test } from 'bun:test'
import {
  driverFacts,
  driverParts,
  type CudaDriver,
  type DriverFacts
} from '../../src/blocks/device/cuda-driver.ts'

interface Made {
  version?: number
  gpus?: readonly (readonly [name: string, major: number, minor: number, gib: number])[]
  /** Result by call; others are 0. */
  codes?: Partial<Record<keyof CudaDriver, number>>
}

const H100 = ['NVIDIA H100 80GB HBM3', 9, 0, 80] as const
const P4 = ['Tesla P4', 6, 1, 8] as const

function driver({ version = 13020, gpus = [H100], codes = {} }: Made): CudaDriver {
  const fill = (call: keyof CudaDriver, set: () => void): number => {
    set()
    return codes[call] ?? 0
  }
  return {
    cuInit: () => codes.cuInit ?? 0,
    cuDriverGetVersion: (out) => fill('cuDriverGetVersion', () => void (out[0] = version)),
    cuDeviceGetCount: (out) => fill('cuDeviceGetCount', () => void (out[0] = gpus.length)),
    cuDeviceGet: (out, index) => fill('cuDeviceGet', () => void (out[0] = index)),
    cuDeviceGetName: (out, _length, index) =>
      fill('cuDeviceGetName', () => void new TextEncoder().encodeInto(gpus[index]?.[0] ?? '', out)),
    cuDeviceGetAttribute: (out, attribute, index) =>
      fill(
        'cuDeviceGetAttribute',
        () => void (out[0] = gpus[index]?.[attribute === 75 ? 1 : 2] ?? 0)
      ),
    cuDeviceTotalMem: (out, index) =>
      fill('cuDeviceTotalMem', () => void (out[0] = BigInt(gpus[index]?.[3] ?? 0) << 30n))
  }
}

const gib = (bytes: number): string => `${bytes / 2 ** 30} GiB`

function said(facts: DriverFacts): (string | undefined)[][] {
  return driverParts(facts, gib).map(({ name, found, fault }) =>
    fault ? [name, found, fault.hint] : [name, found]
  )
}

test('driverFacts() reads version, names, capability and memory', () => {
  expect(driverFacts(() => driver({ gpus: [H100, P4] }))).toEqual({
    version: '13.2',
    devices: [
      { index: 0, name: H100[0], capability: '9.0', memoryBytes: 80 * 2 ** 30 },
      { index: 1, name: P4[0], capability: '6.1', memoryBytes: 8 * 2 ** 30 }
    ]
  })
})

test('driverFacts() stops at the call that fails, and never throws', () => {
  const facts = [
    { codes: { cuInit: 100 } },
    { codes: { cuDeviceGetCount: 3 } },
    { codes: { cuDeviceTotalMem: 999 } }
  ].map((made) => driverFacts(() => driver(made)).failure)
  const none = driverFacts(() => {
    throw new Error('Symbol not found')
  })
  expect([...facts, none.failure]).toEqual([
    { call: 'cuInit', code: 100 },
    { call: 'cuDeviceGetCount', code: 3 },
    { call: 'cuDeviceTotalMem', code: 999 },
    { call: 'libcuda.so.1', code: -1 }
  ])
})

test('a hostile count of GPUs asks for no more than any machine has', () => {
  const many = driver({})
  many.cuDeviceGetCount = (out) => {
    out[0] = 2 ** 30
    return 0
  }
  expect(driverFacts(() => many).devices.length).toBe(64)
})

test('driverParts() is content with one GPU that is new enough', () => {
  expect(said(driverFacts(() => driver({ gpus: [P4, H100] })))).toEqual([
    ['NVIDIA driver', 'runs CUDA up to 13.2'],
    ['GPU 0', 'Tesla P4, compute capability 6.1, 8 GiB'],
    ['GPU 1', 'NVIDIA H100 80GB HBM3, compute capability 9.0, 80 GiB']
  ])
})

test('driverParts() names an old driver, an old GPU and a missing one, each with its next step', () => {
  const newer = 'Install an NVIDIA driver of 580 or newer'
  expect(said({ version: '12.4', devices: [], failure: { call: 'cuInit', code: 803 } })).toEqual([
    ['NVIDIA driver', 'runs CUDA up to 12.4, and 13.0 is needed', newer],
    [
      'GPUs',
      "the kernel's module and the library are of different versions (cuInit: error 803)",
      'Restart the machine'
    ]
  ])
  expect(said(driverFacts(() => driver({ gpus: [P4] })))[1]).toEqual([
    'GPU 0',
    'Tesla P4, compute capability 6.1, 8 GiB: older than 7.5',
    'Use --device webgpu'
  ])
  const docker = 'Use --device cpu; in a container, pass the GPU in (docker run --gpus all)'
  expect(said(driverFacts(() => driver({ gpus: [] })))[1]).toEqual([
    'GPUs',
    'there is no GPU (cuDeviceGetCount: error 100)',
    docker
  ])
  expect(said({ devices: [], failure: { call: 'cuInit', code: 12345 } })).toEqual([
    ['GPUs', 'the driver refuses (cuInit: error 12345)', 'See what it says: nvidia-smi']
  ])
})
