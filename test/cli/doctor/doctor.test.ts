// What petals doctor says of machines that the test makes up: every verdict, its next step, the
// exit code.
import { expect, test } from 'bun:test'
import type { CudaFacts } from '../../../src/blocks/device/cuda.ts'
import { diagnose, exitOf, verdictOf, type Check } from '../../../src/cli/doctor/doctor-checks.ts'
import { endOf, mergeFacts, probeDevice } from '../../../src/cli/doctor/doctor-device.ts'
import type { DeviceReport, DoctorFacts } from '../../../src/cli/doctor/doctor-facts.ts'
import { limitFacts } from '../../../src/cli/doctor/limits.ts'
import { doctorReport, doctorText } from '../../../src/cli/doctor/doctor-text.ts'

const DONE = { kind: 'done' } as const
const GIB = 2 ** 30
const LIBRARY = {
  version: '1.30.0',
  buildInfo: 'ORT Build Info: git-branch=HEAD, git-commit-id=f2c39fe2f, build type=Release'
}
const CUDA: CudaFacts = {
  platform: 'linux',
  arch: 'x64',
  folder: '/home/me/cuda/1.30.0',
  version: '1.30.0',
  driver: { name: 'libcuda.so.1', path: 'libcuda.so.1' },
  missing: [],
  versions: ['1.30.0'],
  libraries: [{ name: 'libcudart.so.13', path: '/home/me/cuda/1.30.0/libcudart.so.13' }]
}
const GPU = { index: 0, name: 'H100', capability: '9.0', memoryBytes: 80 * GIB }

function report(facts: DeviceReport['facts'], end: DeviceReport['end'] = DONE): DeviceReport {
  return { facts: { library: LIBRARY, ...facts }, end }
}

const KERNELS = { arithmetic: 'petals-1', variant: 'avx2' } as const
const WORKS = report({ kernels: KERNELS, engine: { rows: 128 } })
const NO_DRIVER = report({
  cuda: { ...CUDA, driver: { name: 'libcuda.so.1', path: 'libcuda.so.1', reason: 'no such file' } },
  engine: { fault: { code: 'UNAVAILABLE', message: 'again', hint: undefined, retryable: false } }
})
const NO_VULKAN = report({
  vulkan: { reason: 'no such file', devices: [] }
})

/** A machine on which everything works but the GPUs. */
function machine(made: Partial<DoctorFacts> = {}): DoctorFacts {
  return {
    platform: 'linux',
    build: {
      version: '0.1.0',
      commit: 'abc',
      target: 'linux-x64',
      bun: '1.4.5',
      onnxruntime: '1.30.0',
      hyperdht: '6.34.0'
    },
    executable: '/bin/petals',
    libraries: { folder: '/cache/lib/1' },
    data: { path: '/data', freeBytes: 50 * GIB },
    cache: { path: '/cache', freeBytes: 50 * GIB },
    identities: [{ path: '/data/identities/a-1/identity', mode: 0o100600 }],
    network: { socket: { receiveBytes: 4 * 2 ** 20, wantedBytes: 4 * 2 ** 20 } },
    ...made,
    devices: { cpu: WORKS, cuda: NO_DRIVER, webgpu: NO_VULKAN, ...made.devices }
  }
}

/** Of the checks with this name: state, what was found, the next step. */
function said(name: string, made: Partial<DoctorFacts>): (string | undefined)[][] {
  return diagnose(machine(made))
    .filter((check) => check.name === name)
    .map(({ state, found, next }) => [state, found, ...(next === undefined ? [] : [next])])
}

test('the text of a machine without a GPU is stable, a line a check and a verdict a device', () => {
  expect(doctorText(diagnose(machine()))).toBe(`Program
  ok       program            petals 0.1.0 (abc) for linux-x64, '/bin/petals'
  ok       made of            bun 1.4.5, onnxruntime 1.30.0, hyperdht 6.34.0
  ok       libraries          unpacked to '/cache/lib/1'
  ok       data folder        '/data', 50.0 GiB free
  ok       cache folder       '/cache', 50.0 GiB free
  ok       identities         1 key, for their owner alone

CPU
  ok       kernels            petals-1, avx2
  ok       engine             computes

CUDA
  failed   libcuda.so.1       cannot be opened (no such file) -> Install an NVIDIA driver for CUDA 13 (580 or newer), or use --device cpu
  ok       CUDA provider      1.30.0 in '/home/me/cuda/1.30.0'
  ok       libcudart.so.13    opens from '/home/me/cuda/1.30.0/libcudart.so.13'

WebGPU
  failed   libvulkan.so.1     cannot be opened (no such file) -> Install libvulkan1 and your GPU's Vulkan driver, or use --device cpu

Network
  ok       UDP socket         receive buffer of 4.0 MiB

--device cpu     works
--device cuda    no: libcuda.so.1: cannot be opened (no such file)
                 next: Install an NVIDIA driver for CUDA 13 (580 or newer), or use --device cpu
--device webgpu  no: libvulkan.so.1: cannot be opened (no such file)
                 next: Install libvulkan1 and your GPU's Vulkan driver, or use --device cpu
`)
})

test('a GPU that is all there works, and its parts come in the order to mend them in', () => {
  const cuda = report({
    cuda: CUDA,
    driver: { version: '13.2', devices: [GPU] },
    engine: { rows: 512 }
  })
  const checks = diagnose(machine({ devices: { cuda } })).filter(({ area }) => area === 'cuda')
  expect(checks.map(({ name, state, found }) => [name, state, found])).toEqual([
    ['libcuda.so.1', 'ok', 'opens'],
    ['NVIDIA driver', 'ok', 'runs CUDA up to 13.2'],
    ['GPU 0', 'ok', 'H100, compute capability 9.0, 80.0 GiB'],
    ['CUDA provider', 'ok', "1.30.0 in '/home/me/cuda/1.30.0'"],
    ['libcudart.so.13', 'ok', "opens from '/home/me/cuda/1.30.0/libcudart.so.13'"],
    ['engine', 'ok', 'computes as the CPU does, 512 rows at once']
  ])
  expect(exitOf(diagnose(machine({ devices: { cuda } })), 'cuda')).toBe(0)
})

test('with a GPU and without its libraries the next step is to fetch them', () => {
  const path = 'libcudart.so.13'
  const cuda = report({
    cuda: {
      ...CUDA,
      missing: ['/home/me/cuda/1.30.0/x.so'],
      versions: [],
      libraries: [{ name: path, path, reason: 'no such file' }]
    },
    driver: { version: '13.2', devices: [GPU] }
  })
  const verdict = verdictOf('cuda', diagnose(machine({ devices: { cuda } })))
  expect([verdict.first?.name, verdict.first?.next]).toEqual([
    'CUDA provider',
    'Run petals doctor --install-cuda'
  ])
})

test('a provider of another version, and a system without CUDA, are named', () => {
  const old = report({ cuda: { ...CUDA, versions: ['1.29.0'] } })
  expect(said('CUDA provider', { devices: { cuda: old } })).toEqual([
    ['failed', '1.29.0, and 1.30.0 is needed', 'Run petals doctor --install-cuda']
  ])
  const mac = report({
    cuda: { ...CUDA, platform: 'darwin', arch: 'arm64', missing: [], libraries: [] }
  })
  expect(said('build', { devices: { cuda: mac } })).toEqual([
    ['failed', 'none for darwin arm64', 'Use --device webgpu']
  ])
})

test('kernels that had to be plainer than they could be are told, and slow ones', () => {
  const kernels = (facts: object): DeviceReport => report({ kernels: { ...KERNELS, ...facts } })
  const warning = "The 'avx512' kernels compute wrongly on this CPU (7): plainer ones are used"
  expect(said('kernels', { devices: { cpu: kernels({ warning }) } })).toEqual([
    ['warning', `petals-1, avx2: ${warning}`, 'Report it with the output of petals doctor --json']
  ])
  const found = (facts: object): unknown => said('kernels', { devices: { cpu: kernels(facts) } })
  expect(found({ variant: 'plain' })).toEqual([
    ['ok', 'petals-1, plain: slow, as this CPU has no AVX2 (x64) or dot products (arm64)']
  ])
  expect(found({ variant: 'plain', wanted: 'plain' })).toEqual([
    ['ok', 'petals-1, plain, as PETALS_CPU says']
  ])
})

test('a build without onnxruntime says nothing of it', () => {
  const { build } = machine()
  expect(said('made of', { build: { ...build, onnxruntime: undefined } })).toEqual([
    ['ok', 'bun 1.4.5, hyperdht 6.34.0']
  ])
})

test('an engine that refuses, dies or hangs is told with what it said', () => {
  const fault = { code: 'UNAVAILABLE', message: 'No adapter', hint: 'Get one', retryable: false }
  const reports: DeviceReport[] = [
    report({ engine: { fault: fault as never } }),
    report({}, { kind: 'died', how: 'SIGSEGV', words: 'lost device' }),
    report({}, { kind: 'died', how: 'exit code 3', words: '' }),
    report({}, { kind: 'late', ms: 60_000 }),
    report({})
  ]
  const blame = 'Use --device cpu, and report it with the output of petals doctor --json'
  const found = reports.map((webgpu) => {
    const checks = diagnose(machine({ devices: { webgpu } }))
    const { first } = verdictOf('webgpu', checks)
    return [first?.name, first?.found, first?.next]
  })
  expect(found).toEqual([
    ['engine', 'No adapter', 'Get one'],
    ['engine', 'its process died (SIGSEGV): lost device', blame],
    ['engine', 'its process died (exit code 3)', blame],
    ['engine', 'does not come to an end within 60 s', blame],
    ['engine', 'its process said nothing', blame]
  ])
})

test('a driver that takes its process down is named, not the engine', () => {
  const cuda = report({ cuda: CUDA }, { kind: 'died', how: 'SIGSEGV', words: '' })
  const { first } = verdictOf('cuda', diagnose(machine({ devices: { cuda } })))
  expect([first?.name, first?.found]).toEqual(['NVIDIA driver', 'its process died (SIGSEGV)'])
})

test('the exit code is 0 while the CPU works, and that of the device that was asked for', () => {
  const broken = report({}, { kind: 'died', how: 'SIGILL', words: '' })
  const forbidden = { reason: 'it is read-only', denied: true }
  const codes: [Partial<DoctorFacts>, number, number][] = [
    [{}, 0, 6],
    [{ devices: { cuda: report({ cuda: CUDA, engine: { rows: 1 } }) } }, 0, 0],
    [{ devices: { cpu: broken } }, 6, 6],
    [{ devices: { cpu: broken, cuda: WORKS } }, 6, 6],
    [{ libraries: forbidden, devices: {} }, 8, 8],
    [{ data: { path: '/data', refusal: forbidden } }, 8, 8],
    [{ cache: { path: '/cache', refusal: { reason: 'the disk is full' } } }, 6, 6],
    [{ network: { socket: { reason: 'no sockets' } } }, 0, 6]
  ]
  for (const [made, plain, cuda] of codes) {
    const checks = diagnose(machine(made))
    expect({ made, codes: [exitOf(checks, undefined), exitOf(checks, 'cuda')] }).toEqual({
      made,
      codes: [plain, cuda]
    })
  }
})

test('folders: what cannot be written fails, little room is a warning', () => {
  expect(said('data folder', { data: { path: '/d', refusal: { reason: 'read-only' } } })).toEqual([
    ['failed', "'/d': read-only", 'Set PETALS_HOME to a folder that can be written']
  ])
  expect(said('cache folder', { cache: { path: '/c', freeBytes: GIB / 2 } })).toEqual([
    [
      'warning',
      "'/c', 512.0 MiB free",
      'Free some room (petals models, petals rm), or set PETALS_HOME to a larger disk'
    ]
  ])
  expect(said('data folder', { data: { path: '/d' } })).toEqual([['ok', "'/d', free room unknown"]])
})

test('limits of the process that stop it fail, and narrow ones are a warning', () => {
  const proc = (address: string, files: string): string =>
    'Limit                     Soft Limit           Hard Limit           Units     \n' +
    `Max open files            ${files}                20000                files     \n` +
    `Max address space         ${address}            unlimited            bytes     \n`
  const state = (address: string, files: string): unknown[] => {
    const limits = limitFacts(proc(address, files))
    return [said('limits', { limits })[0], exitOf(diagnose(machine({ limits })), undefined)]
  }
  expect(state('unlimited', '20000')).toEqual([['ok', 'any address space, 20000 open files'], 0])
  expect(state('1536000000', '1024')).toEqual([
    ['failed', '1.4 GiB address space, 1024 open files', 'Lift the first: ulimit -v unlimited'],
    7
  ])
  expect(state(String(16 * GIB), '1024')[0]).toMatchObject([
    'warning',
    '16.0 GiB address space, 1024 open files',
    expect.any(String)
  ])
  expect(state('unlimited', '64')).toEqual([
    ['warning', 'any address space, 64 open files', 'Allow more files: ulimit -n 4096'],
    0
  ])
  expect(said('limits', {})).toEqual([])
})

test('identities that others may read are named, each with the way to close it', () => {
  const identities = [
    { path: '/d/a', mode: 0o100600 },
    { path: '/d/b', mode: 0o100644 }
  ]
  expect(said('identities', { identities })).toEqual([
    [
      'warning',
      "'/d/b' has mode 644: others may read or change it",
      "If it is still yours alone: chmod 600 '/d/b'"
    ]
  ])
  expect(said('identities', { identities: [] })).toEqual([['ok', 'none yet']])
})

test('the network only warns: a swarm on the local network needs neither DHT nor hub', () => {
  const socket = { receiveBytes: 2 ** 20, wantedBytes: 4 * 2 ** 20 }
  const checks = diagnose(
    machine({
      network: {
        socket,
        dht: { reason: 'nobody answers', next: 'Look at the cable' },
        hub: { reason: 'HTTP 503', next: 'Try later' }
      }
    })
  ).filter(({ area }) => area === 'network')
  expect(checks.map(({ name, state, found, next }) => [name, state, found, next])).toEqual([
    [
      'UDP socket',
      'warning',
      'receive buffer of 1.0 MiB, 4.0 MiB is wanted',
      'For more speed: sysctl -w net.core.rmem_max=4194304'
    ],
    ['DHT', 'warning', 'nobody answers', 'Look at the cable'],
    ['hub', 'warning', 'HTTP 503', 'Try later']
  ])
})

test('the DHT tells of a NAT that keeps peers apart', () => {
  const dht = { from: '1.2.3.4:5', nodes: 7, randomized: false }
  const network = machine().network
  expect(said('DHT', { network: { ...network, dht } })).toEqual([
    ['ok', 'joined from 1.2.3.4:5, 7 nodes known']
  ])
  const [apart] = said('DHT', { network: { ...network, dht: { ...dht, randomized: true } } })
  expect([apart?.[0], apart?.[1]]).toEqual([
    'warning',
    'joined from 1.2.3.4:5, 7 nodes known; the NAT here gives every peer another port'
  ])
})

test('as JSON every device has its verdict, and the exit code is the one it exits with', () => {
  const made = doctorReport(diagnose(machine()), 'cuda') as {
    ok: boolean
    exitCode: number
    devices: Record<string, unknown>
    checks: Check[]
  }
  expect([made.ok, made.exitCode, made.checks.length]).toEqual([false, 6, 13])
  expect(made.devices['cpu']).toEqual({ works: true })
  expect(made.devices['webgpu']).toEqual({
    works: false,
    firstFailure: {
      area: 'webgpu',
      name: 'libvulkan.so.1',
      found: 'cannot be opened (no such file)'
    },
    next: "Install libvulkan1 and your GPU's Vulkan driver, or use --device cpu"
  })
})

test('what a driver said cannot break the lines', () => {
  const words = 'one\n\x1b[2Jtwo\r\n'
  const webgpu = report({}, { kind: 'died', how: 'SIGABRT', words })
  const text = doctorText(diagnose(machine({ devices: { webgpu } })))
  expect(text).toContain('its process died (SIGABRT): one [2Jtwo -> Use')
})

test('what a child said before it died counts, whole lines alone', () => {
  const text = `noise of a driver\n${JSON.stringify({ library: LIBRARY })}\n{"engine":{"ro`
  expect(mergeFacts(text)).toEqual({ library: LIBRARY })
  expect([
    endOf(0, null, undefined, ''),
    endOf(null, 'SIGABRT', undefined, 'first\nlast words\n\n'),
    endOf(null, 'SIGSEGV', undefined, 'panic(main thread): fault\nhttps://bun.report/x'),
    endOf(null, 'SIGKILL', 5000, ''),
    endOf(3, null, undefined, '')
  ]).toEqual([
    { kind: 'done' },
    { kind: 'died', how: 'SIGABRT', words: 'last words' },
    { kind: 'died', how: 'SIGSEGV', words: 'panic(main thread): fault' },
    { kind: 'late', ms: 5000 },
    { kind: 'died', how: 'exit code 3', words: '' }
  ])
})

test('a child that kills itself or hangs takes nobody along', async () => {
  const child = (body: string): string[] => [process.execPath, '-e', body]
  const fact = `console.log(${JSON.stringify(JSON.stringify({ library: LIBRARY }))});`
  const dying = `${fact} console.error('bad'); process.kill(process.pid, 'SIGSEGV'); setInterval(() => {}, 9)`
  const died = await probeDevice('webgpu', { command: child(dying) })
  expect([died.facts.library?.version, died.end.kind]).toEqual(['1.30.0', 'died'])
  const late = await probeDevice('webgpu', {
    command: child('setInterval(() => {}, 1000)'),
    limitMs: 50
  })
  expect(late).toEqual({ facts: {}, end: { kind: 'late', ms: 50 } })
})
