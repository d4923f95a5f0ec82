import { expect, test } from 'bun:test'
import { freemem } from 'node:os'
import { freeMemoryBytes, wholeMemoryBytes } from '../../src/base/free-memory.ts'

const files =
  (all: Readonly<Record<string, string>>) =>
  (path: string): string | undefined =>
    all[path]

test('freeMemoryBytes() is what the system has where nothing limits the process', () => {
  const nothing = files({})
  const unlimited = files({
    '/proc/self/cgroup': '0::/user\n',
    '/sys/fs/cgroup/user/memory.max': 'max\n',
    '/sys/fs/cgroup/user/memory.current': '500\n'
  })
  expect([freeMemoryBytes(1000, nothing), freeMemoryBytes(1000, unlimited)]).toEqual([1000, 1000])
})

test('freeMemoryBytes() is what a container leaves, its unused file pages counted as free', () => {
  const second = files({
    '/proc/self/cgroup': '0::/\n',
    '/sys/fs/cgroup/memory.max': '600\n',
    '/sys/fs/cgroup/memory.current': '500\n',
    '/sys/fs/cgroup/memory.stat': 'anon 300\ninactive_file 50\nactive_file 150\n'
  })
  const first = files({
    '/proc/self/cgroup': '9:name=systemd:/\n4:cpu,memory:/docker/abc\n',
    '/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes': '800\n',
    '/sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes': '100\n'
  })
  expect([freeMemoryBytes(1000, second), freeMemoryBytes(1000, first)]).toEqual([150, 700])
})

test("wholeMemoryBytes() is the machine's, or the least limit of its containers", () => {
  const nested = files({
    '/proc/self/cgroup': '0::/outer/inner\n',
    '/sys/fs/cgroup/outer/memory.max': '300\n',
    '/sys/fs/cgroup/outer/inner/memory.max': 'max\n'
  })
  expect([wholeMemoryBytes(1000, files({})), wholeMemoryBytes(1000, nested)]).toEqual([1000, 300])
})

test('freeMemoryBytes() minds the limits of groups above, and is never below nothing', () => {
  const nested = (used: string): ((path: string) => string | undefined) =>
    files({
      '/proc/self/cgroup': '0::/outer/inner\n',
      '/sys/fs/cgroup/outer/memory.max': '300\n',
      '/sys/fs/cgroup/outer/memory.current': used,
      '/sys/fs/cgroup/outer/inner/memory.max': '900\n',
      '/sys/fs/cgroup/outer/inner/memory.current': '0\n'
    })
  expect([freeMemoryBytes(1000, nested('100')), freeMemoryBytes(1000, nested('400'))]).toEqual([
    200, 0
  ])
})

test('freeMemoryBytes() of this machine is more than nothing and at most what the system says', () => {
  const before = freeMemoryBytes()
  expect(before).toBeGreaterThan(0)
  expect(before).toBeLessThanOrEqual(freemem() * 1.2)
})
