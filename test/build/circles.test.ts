// scripts/gate/circles.ts over made-up imports.
import { expect, test } from 'bun:test'
import { circleFaults } from '../../scripts/gate/circles.ts'

function circles(imports: Record<string, string[]>): string[] {
  return circleFaults(new Map(Object.entries(imports)))
}

test('files that lie in a row, or share one, are no circle', () => {
  expect(circles({ a: ['b', 'c'], b: ['d'], c: ['d'], d: ['outside'] })).toEqual([])
})

test('a circle is told with the shortest way round', () => {
  expect(circles({ x: ['a'], a: ['b', 'c'], b: ['c'], c: ['a'] })).toEqual([
    'a:1: imports go in a circle: a -> c -> a'
  ])
})

test('files that import each other are told once, each knot by itself', () => {
  const imports = { all: ['a', 'b'], a: ['all'], b: ['all'], p: ['q'], q: ['p'], s: ['s'] }
  expect(circles(imports)).toEqual([
    'a:1: imports go in a circle: a -> all -> a',
    'p:1: imports go in a circle: p -> q -> p',
    's:1: imports go in a circle: s -> s'
  ])
})
