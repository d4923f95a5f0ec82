import { expect, test } from 'bun:test'
import { createLog } from '../../../src/base/log.ts'
import {
  serverProgress,
  stderrProgress,
  takeStderr,
  writeStderr
} from '../../../src/cli/terminal/stderr.ts'

test('what is said goes to whoever took it last, and back again', () => {
  const seen: string[] = []
  const giveBack = takeStderr((text) => seen.push(`outer ${text}`))
  const inner = takeStderr((text) => seen.push(`inner ${text}`))
  writeStderr('a')
  inner()
  writeStderr('b')
  giveBack()
  expect(seen).toEqual(['inner a', 'outer b'])
})

test('a server tells what it does in lines of its log, once each, where there is no terminal', () => {
  const lines: string[] = []
  const log = createLog('info', (line) => void lines.push(line))
  const bars: string[] = []
  const act = (isTTY: boolean): void => {
    const progress = serverProgress(log, { isTTY, write: (text) => bars.push(text) })
    progress.stage('fetching m, 2 GiB')
    progress.update('m: 1 GiB of 2 GiB')
    progress.stage('fetching m, 2 GiB')
    progress.stage('opening m')
    progress.done()
  }
  act(false)
  expect([lines, bars]).toEqual([['fetching m, 2 GiB\n', 'opening m\n'], []])
  act(true)
  expect(lines).toHaveLength(2)
  expect(bars[0]).toEndWith('fetching m, 2 GiB')
})

test('a line of the log takes the place of a line of progress', () => {
  let seen = ''
  const giveBack = takeStderr((text) => void (seen += text))
  const progress = stderrProgress({ isTTY: true, write: (text) => void (seen += text) })
  progress.stage('joining')
  writeStderr('joined\n')
  writeStderr('ready\n')
  progress.done()
  giveBack()
  expect(seen).toBe('\r\x1b[2Kjoining\r\x1b[2Kjoined\nready\n')
})
