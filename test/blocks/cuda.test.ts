// What is said when CUDA is not all there, piece by piece, on a machine that the test makes up.
import { describe, expect, test } from 'bun:test'
import type { AppError } from '../../src/base/errors.ts'
import { computeError } from '../../src/base/errors.ts'
import {
  cudaFacts,
  cudaParts,
  cudaRefusal,
  prepareCuda,
  type CudaProbe
} from '../../src/blocks/device/cuda.ts'

const FOLDER = '/home/me/cuda/1.30.0'
const PLACE = { libraryDir: '/lib', folder: FOLDER, version: '1.30.0' }
const provider = `${FOLDER}/onnxruntime/capi/libonnxruntime_providers`
const wheel = (name: string): string => `${FOLDER}/nvidia/cu13/lib/${name}`
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
    list: (folder) => (folder === FOLDER ? ['nvidia', 'onnxruntime', distribution] : ['cu13']),
    open: (path) => void opened.push(path),
    target: () => undefined,
    link: (target, path) => void links.push(`${path} -> ${target}`),
    ...own,
    opened,
    links
  }
}

function refusal(made: Machine): { code: string; message: string; hint: string | undefined } {
  try {
    prepareCuda(PLACE, machine(made))
  } catch (error) {
    const { code, message, hint } = error as AppError
    return { code, message, hint }
  }
  throw new Error('Nothing was refused')
}

test('cudaParts() tells of everything that is there or missing, the driver first', () => {
  const facts = cudaFacts(
    PLACE,
    machine({
      files: complete.slice(0, 3),
      open: (path) => (path.startsWith('/') ? undefined : 'no such file')
    })
  )
  expect(cudaParts(facts).map(({ name, found, fault }) => [name, found, fault?.code])).toEqual([
    ['libcuda.so.1', 'cannot be opened (no such file)', 'UNAVAILABLE'],
    ['CUDA provider', `1.30.0 in '${FOLDER}'`, undefined],
    ['libcudart.so.13', `opens from '${wheel('libcudart.so.13')}'`, undefined],
    ['libcublasLt.so.13', 'cannot be opened (no such file)', 'UNAVAILABLE'],
    ['libcublas.so.13', 'cannot be opened (no such file)', 'UNAVAILABLE'],
    ['libcurand.so.10', 'cannot be opened (no such file)', 'UNAVAILABLE']
  ])
})

describe('prepareCuda()', () => {
  test('opens the libraries in their order and lays the provider beside the library', () => {
    const made = machine({})
    prepareCuda(PLACE, made)
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
    expect(error.hint).toBe('Run petals doctor --install-cuda')
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
    expect(error.hint).toContain('--install-cuda')
  })

  test('makes a link anew that leads elsewhere, and leaves a file of somebody as it is', () => {
    const beside = (name: string): string => `/lib/libonnxruntime_providers_${name}.so`
    const old = machine({ target: () => '/gone/provider.so' })
    prepareCuda(PLACE, old)
    const right = machine({
      target: (path) => path.replace('/lib/', `${FOLDER}/onnxruntime/capi/`)
    })
    prepareCuda(PLACE, right)
    const own = machine({ files: [...complete, beside('shared'), beside('cuda')] })
    prepareCuda(PLACE, own)
    expect([old.links.length, right.links.length, own.links.length]).toEqual([2, 0, 0])
  })

  test('says what to do when nothing can be laid beside the library', () => {
    const link = (): void => {
      throw Object.assign(new Error('EROFS'), { code: 'EROFS' })
    }
    const { code, hint } = refusal({ link })
    expect([code, hint]).toEqual(['DENIED', 'Set PETALS_HOME to a folder that can be written'])
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
  const engine =
    'X failed: /src/bridge.cc:1988 Get() [ONNXRuntimeError] : 1 : FAIL : no such symbol'
  expect(cudaRefusal(computeError(engine)).message).toBe('CUDA cannot be used: no such symbol')
})
