// What the documents name must be there: a reader who follows a path that has moved is lost.
import { expect, test } from 'bun:test'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const root = join(import.meta.dir, '..', '..')
const DOCUMENTS = ['README.md', 'src/README.md', 'src/STYLE.md', 'test/README.md']
const SOURCE = /\w\.(ts|sh|py|c|h|md)$/
const ROOM = /^(src|test|scripts|base|blocks|cli|client|kernels|model|server|swarm|wire)\//

/** Files and folders of the project, each behind a slash. */
const known: readonly string[] = [
  ...new Set(
    [...new Bun.Glob('{src,test,scripts}/**').scanSync({ cwd: root }), ...DOCUMENTS].flatMap(
      (path) => {
        const parts = path.split('/')
        return parts.map((_, i) => `/${parts.slice(0, i + 1).join('/')}`)
      }
    )
  )
]

/** Whether a path ends so: documents leave out what stands before. */
function isThere(path: string): boolean {
  const end = `/${path.replace(/\/$/, '')}`
  return known.some((one) => one.endsWith(end))
}

/** Paths in backticks, but for those with a placeholder such as NAME. */
function namedPaths(text: string): string[] {
  return [...text.matchAll(/`([^`\s]+)`/g)]
    .map(([, word = '']) => word)
    .filter((word) => /^[\w.-]+(\/[\w.-]+)*\/?$/.test(word))
    .filter((word) => SOURCE.test(word) || ROOM.test(word))
    .filter((word) => !/[A-Z]{3}/.test(word.replace(/README|STYLE/, '')))
}

function read(document: string): string {
  return readFileSync(join(root, document), 'utf8')
}

test.each(DOCUMENTS)('every file and folder that %s names is there', (document) => {
  expect(namedPaths(read(document)).filter((path) => !isThere(path))).toEqual([])
})

test.each(DOCUMENTS)('every link of %s leads to a file or to a heading', (document) => {
  const text = read(document)
  const titles = [...text.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) => title.toLowerCase())
  const headings = new Set(
    titles.map((title) => title.replaceAll(/[^\w\s-]/g, '').replaceAll(/\s/g, '-'))
  )
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link)
  const lost = links.filter((link) => {
    if (/^https?:/.test(link)) return false
    if (link.startsWith('#')) return !headings.has(link.slice(1))
    return !existsSync(join(root, dirname(document), link.replace(/#.*/, '')))
  })
  expect(lost).toEqual([])
})

test('the diagrams of src/README.md name files that are there', () => {
  const diagrams = [...read('src/README.md').matchAll(/```mermaid\n(.*?)```/gs)]
  const named = diagrams.flatMap(([, body = '']) => body.match(/[\w-]+\.ts\b/g) ?? [])
  expect(named.length).toBeGreaterThan(5)
  expect(named.filter((name) => !isThere(name))).toEqual([])
})
