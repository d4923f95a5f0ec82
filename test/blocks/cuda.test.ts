// What is said when CUDA is not all there, piece by piece, on a machine that the test makes up.
import { describe, expect, test } from 'bun:test'
import type { AppError } from '../../src/base/errors.ts'
import { computeError } from '../../src/base/errors.ts'
import { cudaRefusal, prepareCuda, type CudaProbe } from '../../src/blocks/device/cuda.ts'

const provider = '/lib/cuda/onnxruntime/capi/libonnxruntime_providers'
const wheel = (name: string): string => `/lib/cuda/nvidia/cu13/lib/${name}`
const complete = [
  `${provider}_shared.so`,
  `${provider}_cuda.so`,
  ...['libcudart.so.13', 'libcublasLt.so.13', 'libcublas.so.13', 'libcurand.so.10'].map(wheel)
]

interface Machine extends Partial<CudaProbe> {
  files?: readonly string[]
  distribution?: string
}

function machine(made: Machine): CudaProbe & { opened: string[]; links: string[] } {
  const { files = complete, distribution = 'onnxruntime_gpu-1.30.0.dist-info', ...own } = made
  const [opened, links] = [[] as string[], [] as string[]]
  return {
    platform: 'linux',
    arch: 'x64',
    exists: (path) => files.includes(path),
    list: (folder) => (folder === '/lib/cuda' ? ['nvidia', 'onnxruntime', distribution] : ['cu13']),
    open: (path) => void opened.push(path),
    link: (target, path) => void links.push(`${path} -> ${target}`),
    ...own,
    opened,
    links
  }
}

function refusal(made: Machine): { code: string; message: string; hint: string | undefined } {
  try {
    prepareCuda('/lib', '1.30.0', machine(made))
  } catch (error) {
    const { code, message, hint } = error as AppError
    return { code, message, hint }
  }
  throw new Error('Nothing was refused')
}

describe('prepareCuda()', () => {
  test('opens the libraries in their order and lays the provider beside the library', () => {
    const made = machine({})
    prepareCuda('/lib', '1.30.0', made)
    expect({ opened: made.opened, links: made.links }).toEqual({
      opened: ['libcuda.so.1', ...complete.slice(2)],
      links: [
        `/lib/libonnxruntime_providers_shared.so -> ${provider}_shared.so`,
        `/lib/libonnxruntime_providers_cuda.so -> ${provider}_cuda.so`
      ]
    })
  })

  test('without a driver says to install one', () => {
    const error = refusal({
      open: (path) => (path === 'libcuda.so.1' ? 'no such file' : undefined)
    })
    expect(error.code).toBe('UNAVAILABLE')
    expect(error.message).toContain("the driver's libcuda.so.1 cannot be opened (no such file)")
    expect(error.hint).toContain('Install an NVIDIA driver')
  })

  test('without the provider gives the command that fetches it', () => {
    const error = refusal({ files: complete.slice(1) })
    expect(error.message).toContain(`'${provider}_shared.so' is not there`)
    expect(error.hint).toContain("pip install --upgrade --target '/lib/cuda'")
    expect(error.hint).toContain('onnxruntime-gpu==1.30.0')
  })

  test('names the versions when the provider is of another', () => {
    const { message } = refusal({ distribution: 'onnxruntime_gpu-1.31.0.dist-info' })
    expect(message).toBe('CUDA cannot be used: its provider is 1.31.0, and 1.30.0 is needed')
  })

  test('names the library that cannot be opened', () => {
    const error = refusal({
      files: complete.filter((path) => !path.includes('cublas.')),
      open: (path) => (path === 'libcublas.so.13' ? 'not found' : undefined)
    })
    expect(error.message).toBe('CUDA cannot be used: libcublas.so.13 cannot be opened (not found)')
    expect(error.hint).toContain('pip install')
  })

  test('points other systems to WebGPU', () => {
    expect(refusal({ platform: 'darwin', arch: 'arm64' })).toEqual({
      code: 'UNSUPPORTED',
      message: 'CUDA cannot be used: there is no build for darwin arm64',
      hint: 'Use --device webgpu'
    })
  })
})

test("cudaRefusal() puts the engine's numbers into words", () => {
  const said = [35, 100, 2].map(
    (number) => cudaRefusal(computeError(`CUDA failure ${number}: something`)).message
  )
  expect(said).toEqual([
    'CUDA cannot be used: the driver is too old',
    'CUDA cannot be used: there is no GPU',
    "CUDA cannot be used: the GPU's memory is spent"
  ])
})
