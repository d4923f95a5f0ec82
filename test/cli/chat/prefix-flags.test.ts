// The secret by which chats find again what servers kept, whose instructions they begin with, and
// the servers that they went through.
import { chmod, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'bun:test'
import type { AppError } from '../../../src/base/errors.ts'
import type { Context } from '../../../src/cli/context.ts'
import {
  checkPrefixFlags,
  prefixSecret,
  type PrefixFlags
} from '../../../src/cli/chat/prefix-flags.ts'
import {
  formatServers,
  mergeServers,
  parseServers
} from '../../../src/library/open/known-servers.ts'
import { tempFolder } from '../../support/temp-folder.ts'

function contextIn(data: string, warnings: string[] = []): Context {
  const log = {
    debug() {},
    info() {},
    warn: (text: string) => void warnings.push(text),
    error() {}
  }
  return { paths: { data, cache: data }, log } as unknown as Context
}

test('a secret is made once, for the owner alone, and is the same for every chat', async () => {
  await using folder = await tempFolder()
  const context = contextIn(folder.path)
  const together = await Promise.all([1, 2, 3].map(() => prefixSecret({}, context)))
  const later = await prefixSecret({ forget: true }, context)
  const secrets = [...together, later].map((one) => one && Buffer.from(one.secret).toString('hex'))
  const files = await readdir(folder.path)
  const { mode, size } = await stat(join(folder.path, 'prefix-secret'))
  expect({
    different: new Set(secrets).size,
    forget: later && later.forget,
    files,
    mode: mode & 0o777,
    size
  }).toEqual({ different: 1, forget: true, files: ['prefix-secret'], mode: 0o600, size: 32 })
})

test('a secret that others may read is not used, and the chat goes on', async () => {
  await using folder = await tempFolder()
  const warnings: string[] = []
  const context = contextIn(folder.path, warnings)
  const first = await prefixSecret({}, context)
  await chmod(join(folder.path, 'prefix-secret'), 0o644)
  const second = await prefixSecret({}, context)
  expect([
    first && second && Buffer.compare(first.secret, second.secret) === 0,
    warnings.length
  ]).toEqual([false, 1])
})

test('--no-prefix-cache leaves no secret behind', async () => {
  await using folder = await tempFolder()
  expect(await prefixSecret({ prefixCache: false }, contextIn(folder.path))).toBe(false)
  expect(await readdir(folder.path)).toEqual([])
})

test('flags of shared instructions are refused where they make no sense', () => {
  const key = 'ab'.repeat(32)
  const code = (flags: PrefixFlags): string => {
    try {
      checkPrefixFlags(flags)
      return 'none'
    } catch (error) {
      return (error as AppError).code
    }
  }
  expect([
    code({ share: true }),
    code({ sharedBy: key }),
    code({ sharedBy: key, system: 'x', raw: true }),
    code({ sharedBy: key, system: 'x', share: true }),
    code({ sharedBy: key.slice(1), system: 'x' }),
    code({ share: true, system: 'x', prefixCache: false }),
    code({ sharedBy: key, system: 'x', forget: true }),
    code({ share: true, system: 'x' }),
    code({ sharedBy: key, system: 'x' }),
    code({})
  ]).toEqual([...Array.from({ length: 7 }, () => 'BAD_INPUT'), 'none', 'none', 'none'])
})

test('servers used are remembered for an hour, the latest first, and what cannot be read is left out', () => {
  const [a, b, c] = ['a', 'b', 'c'].map((letter) => letter.repeat(64)) as [string, string, string]
  const hour = 3_600_000
  const [model, other] = ['1', '2'].map((digit) => digit.repeat(64)) as [string, string]
  const used = new Map([
    [a, 12.34],
    [b, 5]
  ])
  const earlier = mergeServers([], { model: other, rttMs: new Map([[b, 9]]) }, 900)
  const before = mergeServers(earlier, { model, rttMs: used }, 1000)
  const text = `${formatServers(before)}nonsense\n${c} ${model} 99999.0 1000\n${c} 5.0 1000\n`
  const known = parseServers(text, 2000)
  expect(known).toEqual([
    { peer: a, model, rttMs: 12.3, usedAt: 1000 },
    { peer: b, model, rttMs: 5, usedAt: 1000 },
    { peer: b, model: other, rttMs: 9, usedAt: 900 }
  ])
  const later = mergeServers(known, { model, rttMs: new Map([[b, 7]]) }, 1000 + hour / 2)
  expect(later.map((one) => [one.peer, one.model])).toEqual([
    [b, model],
    [a, model],
    [b, other]
  ])
  expect(parseServers(formatServers(later), 1000 + hour).map(({ peer }) => peer)).toEqual([b])
})
