// bun scripts/gate/layers.ts
// What oxlint cannot know: imports go leftwards between rooms and in no circle, some packages
// belong to some rooms only, files and folders stay small, comments are narrow and name files that
// exist. Reads the text line by line; the formatter, which runs first, keeps it regular.
import { dirname, join, normalize } from 'node:path'
import { circleFaults } from './circles.ts'
import { commentFaults, knownFiles, nameFaults } from './comments.ts'

/** Rank of each room; a room imports from lower ranks only. `index` is the library's entry. */
const RANKS: Readonly<Record<string, number>> = {
  base: 0,
  kernels: 1,
  wire: 1,
  model: 1,
  udx: 1,
  swarm: 2,
  blocks: 2,
  weights: 3,
  server: 4,
  client: 4,
  here: 5,
  tune: 6,
  library: 7,
  api: 8,
  index: 9,
  cli: 9
}

/** What commands use through the library alone, but for the one that plans routes over a swarm. */
const THROUGH_LIBRARY: Readonly<Record<string, RegExp>> = {
  client: /^src\/cli\/(plan\/|run\/plan\.ts$)/,
  here: /^$/
}

/** Packages that only some rooms know. A name ending in '/' stands for a scope. */
const ONLY_IN: Readonly<Record<string, readonly string[]>> = {
  'udx-native': ['swarm'],
  hyperdht: ['swarm'],
  hyperswarm: ['swarm'],
  protomux: ['swarm', 'wire', 'server', 'client'],
  protobufjs: ['blocks'],
  'bun:ffi': ['kernels', 'blocks', 'udx', 'base'],
  '@huggingface/': ['model'],
  cac: ['cli'],
  hono: ['api'],
  'prom-client': ['api']
}

/** Where the system's clock, chance and environment may be read. */
const SYSTEM = /\b(Date\.now|Math\.random|process\.env|Bun\.env)\b/
const SYSTEM_FILES =
  /^src\/(base\/clock\.ts|cli\/|udx\/|kernels\/wanted\.ts|library\/surroundings\.ts|api\/page\/browser\/)/
const MAX_LINES = 450
/** At the root of one folder. */
const MAX_FILES = 20

const IMPORT = /^(?:import|export|\})(?:[^'"]*\sfrom)?\s+'([^']+)'/
const DYNAMIC = /\b(?:import|require|require\.resolve)\(\s*'([^']+)'/g
const WORKER_URL = /new URL\(\s*'([^']+)'\s*,\s*import\.meta\.url/g

/** The room of a path below the root, or undefined outside src. */
export function roomOf(path: string): string | undefined {
  const match = /^src\/([^/]+?)(?:\.ts)?(?:\/|$)/.exec(path)
  return match?.[1]
}

/** Everything wrong with one file, one sentence each, by path (slashes, from the root) and text. */
export function layerFaults(path: string, text: string): string[] {
  const faults: string[] = []
  const lines = text.split('\n')
  const code = withoutComments(text).split('\n')
  const fault = (line: number, message: string): void => {
    faults.push(`${path}:${line + 1}: ${message}`)
  }
  if (lines.length - 1 > MAX_LINES) fault(0, `${lines.length - 1} lines: over ${MAX_LINES}`)
  // A test's own sentences say what it is.
  if (!path.endsWith('.test.ts') && !/^(\/\/|#!)/.test(text))
    fault(0, 'does not open with a comment that says what it is')
  code.forEach((line, index) => {
    for (const specifier of specifiersIn(lines[index] ?? '', line)) {
      for (const message of importFaults(path, specifier)) fault(index, message)
    }
    if (/^export default\b|\bas default\b/.test(line)) fault(index, 'default export')
    if (/(?::|\bas|<|\||,)\s*any\b(?=\s*(?:[>;,)|=&[\]{}]|$))/.test(line))
      fault(index, "type 'any'")
    const system = path.startsWith('src/') && !SYSTEM_FILES.test(path) && SYSTEM.exec(line)
    if (system) fault(index, `${system[1]} outside base/clock.ts and cli/: inject it`)
  })
  return faults
}

/** The files of this project that a file imports. */
function importsOf(path: string, text: string): string[] {
  const lines = text.split('\n')
  const code = withoutComments(text).split('\n')
  return lines
    .flatMap((line, index) => specifiersIn(line, code[index] ?? ''))
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => resolved(path, specifier))
}

function resolved(path: string, specifier: string): string {
  return normalize(join(dirname(path), specifier)).replaceAll('\\', '/')
}

function specifiersIn(line: string, code: string): string[] {
  // A line that is empty without comments imports nothing.
  if (!code.trim()) return []
  const found = [...line.matchAll(DYNAMIC), ...line.matchAll(WORKER_URL)].map((hit) => hit[1] ?? '')
  const fixed = IMPORT.exec(line)?.[1]
  return fixed ? [fixed, ...found] : found
}

function importFaults(path: string, specifier: string): string[] {
  const room = roomOf(path)
  if (!specifier.startsWith('.')) {
    return room ? packageFaults(room, specifier) : []
  }
  const faults: string[] = []
  if (!/\.(ts|cjs|json|bin|txt|html|css)$/.test(specifier)) {
    faults.push(`'${specifier}' has no file ending`)
  }
  const target = resolved(path, specifier)
  const other = roomOf(target)
  if (!room) return faults
  if (!other) return target.startsWith('package.json') ? faults : [...faults, outside(specifier)]
  if (other === room) return faults
  if (room === 'udx') return [...faults, `udx stands alone, but imports '${specifier}'`]
  if (other === 'udx') return [...faults, `'${specifier}': import 'udx-native' instead`]
  const [mine, theirs] = [RANKS[room], RANKS[other]]
  if (mine === undefined) faults.push(`'${room}' is no room of the layer list`)
  else if (theirs === undefined) faults.push(`'${other}' is no room of the layer list`)
  else if (theirs >= mine) faults.push(`${room} must not import ${other}: '${specifier}'`)
  else if (room === 'cli' && THROUGH_LIBRARY[other]?.test(path) === false) {
    faults.push(`a command uses ${other} through the library: '${specifier}'`)
  }
  return faults
}

function outside(specifier: string): string {
  return `'${specifier}' lies outside of src`
}

function packageFaults(room: string, specifier: string): string[] {
  const key = Object.keys(ONLY_IN).find((name) =>
    name.endsWith('/') ? specifier.startsWith(name) : specifier.split('/')[0] === name
  )
  const rooms = key === undefined ? undefined : ONLY_IN[key]
  if (rooms && !rooms.includes(room)) {
    return [`'${specifier}' belongs to ${rooms.join(', ')}, not to ${room}`]
  }
  return []
}

/** The text with comments and the insides of strings blanked, line breaks kept. */
function withoutComments(text: string): string {
  const token =
    /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\*[\s\S]*?\*\/|(?<![\\/])\/\/[^\n]*/g
  return text.replace(token, (hit) => {
    if (hit.startsWith('//')) return ''
    const blank = hit.replaceAll(/[^\n]/g, ' ')
    return hit.startsWith('/*') ? blank : `'${blank.slice(2)}'`
  })
}

/** Folders with more files at their root than a reader takes in at a glance. */
export function folderFaults(paths: Iterable<string>): string[] {
  const counts = new Map<string, number>()
  for (const path of paths) {
    const folder = dirname(path)
    counts.set(folder, (counts.get(folder) ?? 0) + 1)
  }
  return [...counts]
    .filter(([, count]) => count > MAX_FILES)
    .map(([folder, count]) => `${folder}: ${count} files: over ${MAX_FILES}; make folders by topic`)
}

/** Every fault of the sources below `root`. */
export async function layerFaultsIn(root: string): Promise<string[]> {
  const paths: string[] = []
  for await (const path of new Bun.Glob('{src,scripts,test}/**/*').scan({ cwd: root })) {
    const slashed = path.replaceAll('\\', '/')
    if (!slashed.includes('node_modules/')) paths.push(slashed)
  }
  const faults = folderFaults(paths)
  const exists = knownFiles(paths)
  const imports = new Map<string, string[]>()
  for (const path of paths.filter((one) => one.endsWith('.ts')).sort()) {
    const text = await Bun.file(join(root, path)).text()
    imports.set(path, importsOf(path, text))
    faults.push(...layerFaults(path, text), ...commentFaults(path, text, exists))
  }
  for (const path of [...paths.filter((one) => one.endsWith('.md')), 'README.md']) {
    const file = Bun.file(join(root, path))
    if (await file.exists()) faults.push(...nameFaults(path, await file.text(), exists))
  }
  return [...faults, ...circleFaults(imports)]
}

if (import.meta.main) {
  const faults = await layerFaultsIn(join(import.meta.dir, '..', '..'))
  for (const fault of faults) console.log(fault)
  process.exit(faults.length ? 1 : 0)
}
