// scripts/gate/comments.ts: the width of comments, files that they name, and filling them anew.
import { expect, test } from 'bun:test'
import { commentFaults, knownFiles, nameFaults, wrapComments } from '../../scripts/gate/comments.ts'

const exists = knownFiles(['src/client/session/repairs.ts', 'scripts/gate/layers.ts'])
const word = 'word '.repeat(30).trim()

function faultsOf(...lines: string[]): string[] {
  return commentFaults('src/a.ts', lines.join('\n'), exists)
}

test.each([
  [`// ${word}`],
  [`  /** ${word} */`],
  [`/**\n * ${word}\n */`],
  [`const a = '//' // ${word}`]
])('a comment over 100 columns is a fault: %p', (text) => {
  expect(faultsOf(text).join()).toContain('a comment over 100 columns')
})

test.each([
  [`// ${word.slice(0, 97)}`],
  [`const a = '// ${word}'`],
  [`const a = "/* ${word}"`],
  [`// https://example.org/${'x'.repeat(100)}`],
  [`const a = /\\/\\*${'x'.repeat(100)}/ // short`.slice(0, 98)]
])('%p is none', (text) => {
  expect(faultsOf(text)).toEqual([])
})

test('a file that a comment names must exist, in the folders that it names', () => {
  expect(
    faultsOf(
      '// repairs.ts, session/repairs.ts and src/client/session/repairs.ts are there,',
      '// as is scripts/gate/layers.ts.',
      '// hops.ts is not, and route/repairs.ts is not.'
    )
  ).toEqual([
    "src/a.ts:3: names 'hops.ts', which does not exist",
    "src/a.ts:3: names 'route/repairs.ts', which does not exist"
  ])
})

test('code, patterns and other kinds of file are no names', () => {
  expect(
    faultsOf("const a = 'hops.ts'", '// *.test.ts, ./x.ts, <name>.ts, run.c, llama2.c')
  ).toEqual([])
})

test('a file that a page of prose names must exist, too', () => {
  const text = 'See `session/repairs.ts` and `model/NAME.ts`,\nnot `route.ts`.'
  expect(nameFaults('a.md', text, exists)).toEqual([
    "a.md:2: names 'route.ts', which does not exist"
  ])
})

test('wrapComments() fills a paragraph with a wide line, and leaves the rest as it is', () => {
  const text = [
    '// bun scripts/a.ts [--b]',
    `// ${word}`,
    '// and more.',
    '//   a table   of its own',
    '/** Short. */',
    'const a = 1',
    `  /** ${word} @throws Error */`,
    '  /**',
    `   * ${word}`,
    '   * @throws Error',
    '   */',
    `const b = '${'x'.repeat(120)}'`
  ].join('\n')
  const wrapped = wrapComments(text)
  expect(commentFaults('src/a.ts', wrapped, exists)).toEqual(faultsOf('// scripts/a.ts'))
  expect(wrapped.split('\n')).toEqual([
    '// bun scripts/a.ts [--b]',
    `// ${'word '.repeat(19).trim()}`,
    `// ${'word '.repeat(11)}and more.`,
    '//   a table   of its own',
    '/** Short. */',
    'const a = 1',
    '  /**',
    `   * ${'word '.repeat(19).trim()}`,
    `   * ${'word '.repeat(11).trim()}`,
    '   * @throws Error',
    '   */',
    '  /**',
    `   * ${'word '.repeat(19).trim()}`,
    `   * ${'word '.repeat(11).trim()}`,
    '   * @throws Error',
    '   */',
    `const b = '${'x'.repeat(120)}'`
  ])
  expect(wrapComments(wrapped)).toBe(wrapped)
})
