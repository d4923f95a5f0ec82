// What `petals status` says of servers that live, that do not answer yet, and that are missing.
import { expect, test } from 'bun:test'
import { disconnected, timedOut } from '../../src/base/errors.ts'
import { seenOf, table } from '../../src/cli/run/status.ts'
import type { DirectoryEntry } from '../../src/swarm/directory.ts'
import { infoOf } from '../swarm/world.ts'

function entry(start: number, end: number, more: Partial<DirectoryEntry> = {}): DirectoryEntry {
  const peer = new Uint8Array(32).fill(start + 1)
  return { info: infoOf(start, end, { peer }), state: 'alive', rttMs: 2, ...more }
}

const late = { state: 'silent', rttMs: undefined, why: timedOut('late') } as const
const nat = Object.assign(new Error('punched in vain'), { code: 'CANNOT_HOLEPUNCH' })

test('seenOf() tells blocks without a server from blocks whose servers do not answer yet', () => {
  const seen = seenOf(
    [entry(10, 20, late), entry(0, 12), entry(22, 30, { state: 'gone' }), entry(25, 30)],
    30
  )
  expect([seen.alive.length, seen.silent.length, seen.gaps, seen.unanswered]).toEqual([
    2,
    1,
    [{ start: 20, end: 25 }],
    [{ start: 12, end: 20 }]
  ])
})

test('a server that does not answer yet has a row of its own, and nobody is told to join', () => {
  const why = disconnected('no way', { cause: nat })
  const peer = new Uint8Array(32).fill(1)
  const native = entry(0, 10, { info: infoOf(0, 10, { peer, arithmetic: 'petals-1' }) })
  const text = table(
    'tiny',
    30,
    seenOf([native, entry(10, 20, late), entry(20, 30, { ...late, why })], 30)
  )
  expect(text.split('\n')).toEqual([
    'tiny, 30 blocks, 1 server, 2 that do not answer yet',
    'blocks  server    quant  arithmetic  tokens/s  free tokens  training  rtt ms',
    '0:10    01010101  f32    petals-1    10.0      4096         -         2.0',
    '10:20   0b0b0b0b  f32    other       10.0      4096         -         -       does not answer yet',
    '20:30   15151515  f32    other       10.0      4096         -         -       not reached: NAT',
    'The servers of blocks 10:30 do not answer yet: they may be far away, behind a NAT, or gone for a ' +
      'minute or less. Ask again, or --debug tells what was tried.',
    ''
  ])
})

test('a server says how many tokens of trainings it has computed, or that it computes none', () => {
  const own = entry(0, 10, { trainedTokens: 512 })
  const none = entry(10, 30, { info: infoOf(10, 30, { noTraining: true }), trainedTokens: 0 })
  const [, head = '', first = '', second = ''] = table('tiny', 30, seenOf([own, none], 30)).split(
    '\n'
  )
  const at = head.indexOf('training')
  expect([first.slice(at, at + 3), second.slice(at, at + 2)]).toEqual(['512', 'no'])
})

test('blocks that nobody serves are asked for', () => {
  const text = table('tiny', 30, seenOf([entry(0, 10), entry(20, 30)], 30))
  expect(text).toContain('Nobody serves blocks 10:20: petals join tiny --blocks 10:20')
})
