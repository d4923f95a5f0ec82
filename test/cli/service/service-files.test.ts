// What supervisors are given: words arrive as they are, whatever is in them.
import { describe, expect, test } from 'bun:test'
import { join } from 'node:path'
import { JOIN_OPTIONS } from '../../../src/cli/commands/join.ts'
import { wordsOf } from '../../../src/cli/service/join-words.ts'
import { serviceFiles } from '../../../src/cli/service/service-files.ts'

const spec = {
  name: 'home',
  description: '50% of "it"',
  command: ['/opt/my petals', 'join', 'a"b\\', '--label', '$HOME %h'],
  env: { PETALS_HOME: '/data/<x> & y' },
  logFile: '/data/home.log'
}
const around = {
  home: '/home/ann',
  env: {},
  uid: 501,
  folder: join('/data', 'services')
}

describe('serviceFiles()', () => {
  test('makes a systemd user unit without variables or specifiers in its words', () => {
    const files = serviceFiles(spec, { ...around, platform: 'linux' })
    expect(files.path).toBe('/home/ann/.config/systemd/user/petals-home.service')
    expect(String(files.content).split('\n')).toEqual(
      expect.arrayContaining([
        'Description=50%% of "it"',
        'ExecStart="/opt/my petals" "join" "a\\"b\\\\" "--label" "$$HOME %%h"',
        'Environment="PETALS_HOME=/data/<x> & y"',
        'Restart=on-failure',
        'WantedBy=default.target'
      ])
    )
    expect(files.start.at(-1)).toEqual(['systemctl', '--user', 'restart', 'petals-home.service'])
    const elsewhere = { ...around, platform: 'linux' as const, env: { XDG_CONFIG_HOME: '/conf' } }
    expect(serviceFiles(spec, elsewhere).path).toStartWith('/conf/systemd/user/')
  })

  test('makes a launchd agent that is started again when it fails', () => {
    const files = serviceFiles(spec, { ...around, platform: 'darwin' })
    const content = String(files.content)
    expect(files.path).toBe('/home/ann/Library/LaunchAgents/petals.home.plist')
    expect(content).toContain('<string>a&quot;b\\</string>')
    expect(content).toContain('<key>PETALS_HOME</key><string>/data/&lt;x&gt; &amp; y</string>')
    expect(content).toContain('<key>StandardErrorPath</key><string>/data/home.log</string>')
    expect(files.start).toEqual([['launchctl', 'bootstrap', 'gui/501', files.path]])
  })

  test('makes a task of Windows in the encoding that schtasks reads', () => {
    const files = serviceFiles(spec, { ...around, platform: 'win32' })
    const bytes = files.content as Uint8Array
    expect([bytes[0], bytes[1]]).toEqual([0xff, 0xfe])
    const content = Buffer.from(bytes.subarray(2)).toString('utf16le')
    expect(content).toContain(
      '/d /s /c &quot;set &quot;PETALS_HOME=/data/&lt;x&gt; &amp; y&quot;&amp;&amp; ' +
        '&quot;/opt/my petals&quot; &quot;join&quot; &quot;a\\&quot;b\\\\&quot; '
    )
    expect(content).toContain('<RestartOnFailure>')
    expect(files.start[0]?.slice(0, 4)).toEqual(['schtasks', '/Create', '/TN', 'petals-home'])
  })

  test('says that other systems have no such thing', () => {
    expect(() => serviceFiles(spec, { ...around, platform: 'freebsd' })).toThrow('freebsd')
  })
})

test('wordsOf() writes flags as they were typed', () => {
  const flags = { blocks: '0:5', lan: true, peerWeights: false, name: 'other', quant: undefined }
  expect(wordsOf(flags, JOIN_OPTIONS)).toEqual(['--blocks', '0:5', '--lan', '--no-peer-weights'])
  expect(wordsOf({ adapters: ['a', 'b'] }, JOIN_OPTIONS)).toEqual([
    '--adapters',
    'a',
    '--adapters',
    'b'
  ])
  expect(() => wordsOf({ identity: 'a\nExecStart=/bin/sh' }, JOIN_OPTIONS)).toThrow('--identity')
})
