// Where things live on disk, by environment.
import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { resolvePaths } from '../../src/base/paths.ts'

test('PETALS_HOME moves everything, whatever else is set', () => {
  const env = { PETALS_HOME: '/own', XDG_DATA_HOME: '/data', XDG_CACHE_HOME: '/cache' }
  expect(resolvePaths(env, '/home/me')).toEqual({ data: '/own', cache: '/own/cache' })
})

test('an empty PETALS_HOME counts as none', () => {
  expect(resolvePaths({ PETALS_HOME: '' }, '/home/me')).toEqual(resolvePaths({}, '/home/me'))
})

test.if(process.platform === 'linux')('Linux follows XDG, with its defaults below the home', () => {
  expect(resolvePaths({}, '/home/me')).toEqual({
    data: '/home/me/.local/share/petals',
    cache: '/home/me/.cache/petals'
  })
  expect(resolvePaths({ XDG_DATA_HOME: '/data', XDG_CACHE_HOME: '/cache' }, '/home/me')).toEqual({
    data: '/data/petals',
    cache: '/cache/petals'
  })
})

test.if(process.platform === 'linux')(
  'an XDG folder that is empty or relative counts as none',
  () => {
    expect(resolvePaths({ XDG_DATA_HOME: '', XDG_CACHE_HOME: 'here' }, '/home/me')).toEqual(
      resolvePaths({}, '/home/me')
    )
  }
)

test('a relative PETALS_HOME is seen from the current folder', () => {
  expect(resolvePaths({ PETALS_HOME: 'own' }).data).toBe(join(process.cwd(), 'own'))
})
