// Swarms on the disk of who made them, and the times that invites are given.
import { describe, expect, test } from 'bun:test'
import { chmod, readdir, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { AppError } from '../../src/base/errors.ts'
import { parseExpiry } from '../../src/cli/options.ts'
import {
  createOwnSwarm,
  findOwnSwarm,
  idsNamed,
  inviteTo,
  isSwarmName,
  listOwnSwarms,
  readOwnSwarm,
  revocationsOf,
  revokeIn,
  writeOwnSwarm
} from '../../src/library/open/own-swarms.ts'
import { readPrivate, writePrivate } from '../../src/library/open/private-file.ts'
import { readRevocations } from '../../src/swarm/private/revocations.ts'
import { tempFolder } from '../support/temp-folder.ts'

const NOW = 1_900_000_000_000

function codeOf(run: () => unknown): Promise<string> {
  return Promise.resolve()
    .then(run)
    .then(
      () => 'nothing',
      (error: AppError) => error.code
    )
}

describe('an own swarm', () => {
  test('reads back as it was made, for nobody else to see', async () => {
    await using folder = await tempFolder()
    const paths = { data: folder.path, cache: folder.path }
    const made = await createOwnSwarm(paths, 'home')
    const { swarm } = inviteTo(made, { label: 'alice', expiresAt: NOW + 5000 }, NOW)
    await writeOwnSwarm(paths, swarm)
    expect(await readOwnSwarm(paths, 'home')).toEqual({
      ...swarm,
      root: { seed: Buffer.from(swarm.root.seed), secret: Buffer.from(swarm.root.secret) },
      invite: expect.objectContaining({ capability: swarm.invite.capability }) as never
    })
    await Bun.write(join(folder.path, 'swarms', '.home.json.tmp'), 'not one')
    expect((await listOwnSwarms(paths)).map(({ name, issued }) => [name, issued.length])).toEqual([
      ['home', 1]
    ])
    await unlink(join(folder.path, 'swarms', '.home.json.tmp'))
    const file = join(folder.path, 'swarms', 'home.json')
    expect([(await stat(file)).mode & 0o777, await readdir(join(folder.path, 'swarms'))]).toEqual([
      0o600,
      ['home.json']
    ])
    expect([
      await codeOf(() => createOwnSwarm(paths, 'home')),
      await codeOf(() => readOwnSwarm(paths, 'work')),
      await codeOf(() => createOwnSwarm(paths, '../home')),
      await findOwnSwarm(paths, '../home')
    ]).toEqual(['BAD_INPUT', 'NOT_FOUND', 'BAD_INPUT', undefined])
  })

  test('is refused when it is damaged or others may read it', async () => {
    await using folder = await tempFolder()
    const paths = { data: folder.path, cache: folder.path }
    await createOwnSwarm(paths, 'home')
    const file = join(folder.path, 'swarms', 'home.json')
    const text = await Bun.file(file).text()
    const codes: string[] = []
    for (const bad of ['', '{', 'null', text.replace('"seed"', '"sead"'), text.slice(0, 90)]) {
      await writePrivate(file, bad)
      codes.push(await codeOf(() => readOwnSwarm(paths, 'home')))
    }
    expect(codes).toEqual(Array.from({ length: 5 }, () => 'CORRUPT'))
    await writePrivate(file, text)
    await chmod(file, 0o644)
    expect(await codeOf(() => readOwnSwarm(paths, 'home'))).toBe('DENIED')
  })

  test('takes back by label, id or its beginning, and forgets what has expired', async () => {
    await using folder = await tempFolder()
    let swarm = await createOwnSwarm({ data: folder.path, cache: folder.path }, 'home')
    for (const label of ['alice', 'alice', 'bob']) {
      swarm = inviteTo(
        swarm,
        { label, expiresAt: NOW + (label === 'bob' ? 1000 : 9000) },
        NOW
      ).swarm
    }
    const [first = '', second = '', bob = ''] = swarm.issued.map(({ id }) => id)
    const narrowed = 'ab'.repeat(16)
    expect([
      idsNamed(swarm, 'alice'),
      idsNamed(swarm, bob),
      idsNamed(swarm, first.slice(0, 8)),
      idsNamed(swarm, narrowed)
    ]).toEqual([[first, second], [bob], [first], [narrowed]])
    expect(await codeOf(() => idsNamed(swarm, 'carol'))).toBe('NOT_FOUND')
    const once = revokeIn(swarm, [bob, narrowed], NOW)
    const twice = revokeIn(once, [first], NOW - 5)
    const later = revokeIn(twice, [], NOW + 2000)
    expect([once.seq, twice.seq, later.seq]).toEqual([NOW, NOW + 1, NOW + 2000])
    expect([twice.revoked, later.revoked]).toEqual([
      [bob, narrowed, first],
      [narrowed, first]
    ])
    const list = revocationsOf(later)
    expect(readRevocations(later.invite, list?.bytes ?? new Uint8Array(0)).ids).toEqual(
      new Set([narrowed, first])
    )
    expect(revocationsOf(swarm)).toBeUndefined()
  })

  test('cannot be named like an invite, a path or an option', () => {
    const names = ['home', 'a', 'a.b-c_1', 'petals1abc', '1st', '-x', 'a/b', '', 'a'.repeat(65)]
    expect(names.filter(isSwarmName)).toEqual(['home', 'a', 'a.b-c_1'])
  })
})

describe('readPrivate()', () => {
  test('reads what writePrivate() wrote, and nothing that is too long', async () => {
    await using folder = await tempFolder()
    const path = join(folder.path, 'deep', 'file')
    await writePrivate(path, 'one')
    await writePrivate(path, 'two')
    expect(String(await readPrivate(path, { maxBytes: 3 }))).toBe('two')
    expect(await readPrivate(`${path}.none`, { maxBytes: 3 })).toBeUndefined()
    expect([
      await codeOf(() => readPrivate(path, { maxBytes: 2 })),
      await codeOf(() => writePrivate(path, 'three', { fresh: true }))
    ]).toEqual(['CORRUPT', 'IN_USE'])
  })
})

describe('parseExpiry()', () => {
  test('takes a time from now or a date to come', async () => {
    const at = (text: string | undefined): number | undefined => parseExpiry('expires', text, NOW)
    expect(['90s', '2m', '12h', '30d', '8w'].map(at)).toEqual([
      NOW + 90_000,
      NOW + 120_000,
      NOW + 43_200_000,
      NOW + 2_592_000_000,
      NOW + 4_838_400_000
    ])
    expect([at('2031-01-31'), at('2031-01-31T12:30Z'), at(undefined)]).toEqual([
      Date.UTC(2031, 0, 31),
      Date.UTC(2031, 0, 31, 12, 30),
      undefined
    ])
    const bad = ['', '30', '0d', 'd', '1y', '2001-01-01', '2031-13-01', '9999999w', '-1d']
    const codes = await Promise.all(bad.map((text) => codeOf(() => at(text))))
    expect(codes).toEqual(bad.map(() => 'BAD_INPUT'))
  })
})
