// The plan of a small model beside a swarm of programs: what it tells of each outlook holds
// together.
import type { BlockSpan } from '../../../src/base/block-span.ts'
import { expect, setDefaultTimeout, test } from 'bun:test'
import { join } from 'node:path'
import { Program } from '../../../scripts/processes.ts'
import { heldBytesOf } from '../../../src/model/store/cache-usage.ts'
import { hubRepo } from '../../support/models/hub-repo.ts'
import { spreadGgufBytes } from '../../support/models/remote-model.ts'
import { tempFolder } from '../../support/temp-folder.ts'

const MIB = 2 ** 20

// Programs of a machine that does other things at the same time.
setDefaultTimeout(180_000)

const main = join(import.meta.dir, '..', '..', '..', 'src', 'cli', 'main.ts')

interface Hop extends BlockSpan {
  peer: string
  computeMs: number
}

interface Outlook {
  tokensPerSecond: number | null
  why?: string
  stepMs: number
  computeMs: number
  queueMs: number
  networkMs: number
  headMs: number
  clientMs: number
  claimed: boolean
  route: Hop[]
}

interface Plan {
  kv: string
  fits: { quant: string; blocks: number; bound: string; sessionTokens: number }[]
  measured: { headMeasured: boolean; serving: BlockSpan }
  join: (BlockSpan & { fetchBytes: number }) | null
  servers: number | null
  alone: Outlook
  swarm?: Outlook
  joined?: Outlook
}

function petals(home: string, args: readonly string[], env: Record<string, string> = {}): Program {
  return new Program([process.execPath, main, ...args], {
    env: { PATH: process.env['PATH'] ?? '', HOME: home, PETALS_HOME: home, ...env },
    input: ''
  })
}

function ranges(outlook: Outlook | undefined): string[] | undefined {
  return outlook?.route.map(({ start, end }) => `${start}:${end}`)
}

/** Its parts are a step, its route goes through the whole model. */
function expectWhole(outlook: Outlook | undefined, blocks: number): void {
  if (!outlook || outlook.tokensPerSecond === null) throw new Error(`No forecast: ${outlook?.why}`)
  const { computeMs, queueMs, networkMs, headMs, clientMs, stepMs, route } = outlook
  expect(computeMs + queueMs + networkMs + headMs + clientMs).toBeCloseTo(stepMs, 6)
  expect(outlook.tokensPerSecond).toBeCloseTo(1000 / stepMs, 6)
  expect(Math.min(computeMs, networkMs, headMs, clientMs)).toBeGreaterThan(0)
  expect(route.reduce((sum, hop) => sum + hop.computeMs, 0)).toBeCloseTo(computeMs, 6)
  const ends = route.map(({ end }) => end)
  expect(route.map(({ start }) => start)).toEqual([0, ...ends.slice(0, -1)])
  expect(ends.at(-1)).toBe(blocks)
}

test('plan foretells a machine alone, a swarm with a gap and one without, and itself in both', async () => {
  await using folder = await tempFolder()
  const home = (name: string): string => join(folder.path, name)
  await using bootstrap = petals(home('bootstrap'), ['bootstrap', '--port', '0'])
  const [, address = ''] = await bootstrap.match('stdout', /^(\d+(?:\.\d+){3}:\d+)\s*$/m, 30_000)
  const at = ['--bootstrap', address]
  const plan = async (...more: string[]): Promise<Plan> => {
    await using program = petals(home('planner'), ['plan', 'stories260k', '--json', ...at, ...more])
    const { code, stdout, stderr } = await program.end(60_000)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    return JSON.parse(stdout) as Plan
  }
  const serve = (blocks: string): Program =>
    petals(home(blocks), ['join', 'stories260k', ...at, '--blocks', blocks, '--quant', 'f32'])
  await using first = serve('0:3')
  await first.match('stderr', /^ready\b/m, 60_000)

  const gap = await plan('--memory', '1g')
  expect(gap.fits.map(({ quant, blocks, bound }) => [quant, blocks, bound])).toEqual([
    ['native', 5, 'model'],
    ['f32', 5, 'model'],
    ['int8', 5, 'model'],
    ['int4', 5, 'model']
  ])
  expect(gap.join).toMatchObject({ start: 0, end: 5 })
  expect(gap.servers).toBe(1)
  expectWhole(gap.alone, 5)
  expect(ranges(gap.alone)).toEqual(['0:5'])
  expect(gap.swarm).toEqual({ tokensPerSecond: null, why: 'nobody serves blocks 3:5' } as never)
  expectWhole(gap.joined, 5)
  expect(gap.joined?.route.at(-1)?.peer).toBe('here')

  await using second = serve('3:5')
  await second.match('stderr', /^ready\b/m, 60_000)
  const whole = await plan('--memory', '1g')
  expectWhole(whole.swarm, 5)
  expect(ranges(whole.swarm)).toEqual(['0:3', '3:5'])
  expect(whole.swarm?.claimed).toBe(false)
  expectWhole(whole.joined, 5)
  // A machine on which nothing fits can still be a client.
  const client = await plan('--memory', '1m')
  expect(client.fits.map(({ blocks, bound }) => [blocks, bound])).toEqual(
    Array.from({ length: 4 }, () => [0, 'memory'])
  )
  expect(client.join).toBeNull()
  expect(client.alone.tokensPerSecond).toBeNull()
  expectWhole(client.swarm, 5)
  expect(client.joined).toBeUndefined()
})

test('plan needs no swarm, and says in words what it found', async () => {
  await using folder = await tempFolder()
  await using program = petals(folder.path, ['plan', 'stories260k', '--alone', '--memory', '1g'])
  const { code, stdout, stderr } = await program.end(60_000)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(stdout).toMatch(/^stories260k: 5 blocks, 64 wide\nthis machine: \d+ threads?, 1\.0 GiB /)
  // 45,312 weights, padded to 47,104: 20 bytes for each 32; and two norms of 64 floats.
  expect(stdout).toMatch(/^int4 +29\.3 KiB +5 of 5 +162\.3 KiB /m)
  expect(stdout).toMatch(/^petals join would serve blocks 0:5$/m)
  expect(stdout).toMatch(/^\d+\.\d +alone +\d+\.\d\d +\d+\.\d\d \(\d+ %\)/m)
  expect(stdout).not.toContain('swarm')
})

test('plan --kv foretells with keys and values held so, and measures them', async () => {
  await using folder = await tempFolder()
  const args = ['plan', 'stories260k', '--alone', '--memory', '1g', '--json', '--kv']
  const plan = async (kv: string): Promise<Plan> => {
    await using program = petals(folder.path, [...args, kv])
    const { code, stdout, stderr } = await program.end(60_000)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    return JSON.parse(stdout) as Plan
  }
  const [exact, small] = [await plan('f32'), await plan('int8')]
  expect([exact.kv, small.kv]).toEqual(['f32', 'int8'])
  for (const [at, { sessionTokens }] of small.fits.entries()) {
    expect(sessionTokens).toBeGreaterThan(2 * exact.fits[at]!.sessionTokens)
  }
  expectWhole(small.alone, 5)
  await using wrong = petals(folder.path, [...args, 'f8'])
  const { code, stderr } = await wrong.end(60_000)
  expect([code, stderr]).toEqual([2, expect.stringContaining("--kv cannot be 'f8'")])
})

test('a plan through a bootstrap node that is not there tells so beside what it can tell', async () => {
  await using folder = await tempFolder()
  const args = ['plan', 'stories260k', '--bootstrap', '127.0.0.1:1', '--json']
  await using program = petals(folder.path, args)
  const { code, stdout } = await program.end(60_000)
  expect(code).toBe(0)
  const { alone, swarm, servers } = JSON.parse(stdout) as Plan
  expect(servers).toBeNull()
  expectWhole(alone, 5)
  expect(swarm?.tokensPerSecond).toBeNull()
  expect(swarm?.why).toContain('127.0.0.1:1')
})

test('join refuses blocks that do not fit, with the numbers, before it joins a swarm', async () => {
  await using folder = await tempFolder()
  const ask = async (...more: string[]): Promise<{ code: number | null; stderr: string }> => {
    const args = ['join', 'stories260k', '--bootstrap', '127.0.0.1:1', '--memory', '20m', ...more]
    await using program = petals(folder.path, args)
    const { code, stderr } = await program.end(60_000)
    return { code, stderr }
  }
  const [chosen, given] = [await ask(), await ask('--blocks', '1:4')]
  expect([chosen.code, given.code]).toEqual([7, 7])
  expect(chosen.stderr).toMatch(
    /^error: Not one block fits: \S+ MiB are needed, .* to work with; there are 20\.0 MiB$/m
  )
  expect(given.stderr).toMatch(/^error: Blocks 1:4 do not fit: \S+ MiB are needed, /m)
})

test('of a model on a hub plan fetches two blocks to measure, and minds the room on the disk', async () => {
  await using folder = await tempFolder()
  const bytes = await spreadGgufBytes(2 * MIB)
  const hub = await hubRepo({ files: { 'stories.gguf': bytes } })
  await using _ = hub
  const plan = async (...more: string[]): Promise<Plan> => {
    const args = ['plan', 'some/model', '--alone', '--json', ...more]
    await using program = petals(folder.path, args, { HF_ENDPOINT: hub.url })
    const { code, stdout, stderr } = await program.end(60_000)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    return JSON.parse(stdout) as Plan
  }
  const { measured, join: joining, alone } = await plan()
  expect(measured).toMatchObject({ serving: { start: 0, end: 2 } })
  expectWhole(alone, 5)
  expect(joining).toMatchObject({ start: 0, end: 5 })
  // Three blocks are still to come, and less than that was fetched.
  expect(joining?.fetchBytes).toBeGreaterThan(3 * 100 * 1024)
  const sha256 = new Bun.CryptoHasher('sha256').update(bytes).digest('hex')
  const held = await heldBytesOf(join(folder.path, 'cache', 'models', sha256, 'stories.gguf'))
  expect(held).toBeLessThan(bytes.byteLength / 2)
  // What is here counts against --disk: no more than these blocks have room.
  const small = await plan('--disk', String(held + 64 * 1024))
  expect(small.fits.map(({ bound }) => bound)).toEqual(['disk', 'disk', 'disk', 'disk'])
  expect(small.fits[0]?.blocks).toBeLessThan(5)
})
