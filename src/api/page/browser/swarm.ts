// The monitor: which models a swarm serves, block by block, and what would help it most.
import { ask } from './client.ts'
import { copyButton } from './copy-button.ts'
import { byId, make } from './element.ts'
import type { ModelSnapshot, ServerSnapshot, SwarmSnapshot } from './swarm-types.ts'

const EVERY_MS = 5000

const state = byId('state', HTMLParagraphElement)
const models = byId('models', HTMLElement)
const events = byId('events', HTMLOListElement)

async function look(): Promise<void> {
  try {
    show((await (await ask('/swarm.json')).json()) as SwarmSnapshot)
  } catch (error) {
    state.textContent = error instanceof Error ? error.message : String(error)
  }
  setTimeout(() => void look(), EVERY_MS)
}

function show(swarm: SwarmSnapshot): void {
  state.textContent = stateOf(swarm)
  keepPlace(models, () => models.replaceChildren(...swarm.models.map(modelCard)))
  events.replaceChildren(
    ...swarm.events
      .slice(0, 100)
      .map(({ at, kind, peer, name, start, end }) =>
        make(
          'li',
          {},
          `${timeOf(at)}  ${peer.slice(0, 8)} ${kind}: blocks ${start}:${end} of ${name}`
        )
      )
  )
}

/** What is shown anew stays scrolled as it was, and its focus where it was. */
function keepPlace(within: HTMLElement, change: () => void): void {
  const places = (): HTMLElement[] => [...within.querySelectorAll<HTMLElement>('button, .scroll')]
  const before = places().map((one) => [one === document.activeElement, one.scrollLeft] as const)
  change()
  for (const [i, one] of places().entries()) {
    const [hadFocus = false, left = 0] = before[i] ?? []
    one.scrollLeft = left
    if (hadFocus) one.focus()
  }
}

function stateOf({ looked, reachable, models: all, at }: SwarmSnapshot): string {
  if (!looked) return 'Looking for the swarm'
  if (!reachable) return 'The swarm cannot be reached: its DHT does not answer'
  if (all.length === 0) return 'Nobody serves a model yet: petals join MODEL begins'
  return `${all.length} ${all.length === 1 ? 'model' : 'models'}, at ${timeOf(at)}`
}

function modelCard(model: ModelSnapshot): HTMLElement {
  const { name, blockCount, blocks, hosts, needs } = model
  const missing = blocks.filter(({ servers }) => servers === 0).length
  const speed = Math.min(...blocks.map(({ tokensPerSecond }) => tokensPerSecond))
  const facts = [
    `${hosts.length} ${hosts.length === 1 ? 'server' : 'servers'}`,
    `${blockCount} blocks`,
    ...(missing > 0 ? [`${missing} of them missing`] : [`${speed.toFixed(1)} tokens/s together`])
  ]
  const card = make('section', { class: 'card' }, make('h2', {}, name))
  const line = make('p', { class: missing > 0 ? 'facts missing-text' : 'facts' }, facts.join(', '))
  card.append(line, blockMap(model), serverTable(hosts))
  if (needs.length > 0) {
    card.append(make('h3', {}, 'What would help most'), needList(model))
  }
  if (model.history.length > 1) card.append(...historyLine(model))
  return card
}

function blockMap({ name, blockCount, blocks, hosts }: ModelSnapshot): HTMLElement {
  // A picture: the table of servers below says the same in words.
  const table = make('table', {
    class: 'map',
    role: 'img',
    'aria-label': `Blocks of ${name} by servers: ${servedText(blocks)}`
  })
  const cells = (kind: (block: number) => string): HTMLElement[] =>
    Array.from({ length: blockCount }, (_, block) =>
      make('td', { class: kind(block), title: `block ${block}` })
    )
  const covered = make('tr', {}, make('th', { scope: 'row' }, 'served'))
  covered.append(...cells((block) => ((blocks[block]?.servers ?? 0) > 0 ? 'served' : 'missing')))
  table.append(covered)
  for (const { peer, start, end, state: kind } of hosts) {
    const row = make('tr', {}, make('th', { scope: 'row' }, `${peer.slice(0, 8)} ${start}:${end}`))
    const served = kind === 'alive' ? 'served' : 'silent'
    row.append(...cells((block) => (block >= start && block < end ? served : '')))
    table.append(row)
  }
  return make('div', { class: 'scroll', tabindex: '0' }, table)
}

function servedText(blocks: ModelSnapshot['blocks']): string {
  const missing = blocks.flatMap(({ servers }, block) => (servers === 0 ? [block] : []))
  return missing.length === 0 ? 'all are served' : `nobody serves ${missing.join(', ')}`
}

const COLUMNS: readonly [string, (server: ServerSnapshot) => string][] = [
  ['server', ({ peer }) => peer.slice(0, 8)],
  ['blocks', ({ start, end }) => `${start}:${end}`],
  ['state', ({ state: kind, draining, next }) => (draining ? 'leaving' : next ? 'moving' : kind)],
  ['tokens/s', ({ tokensPerSecond }) => tokensPerSecond.toFixed(1)],
  ['prompt tokens/s', ({ prefillTokensPerSecond }) => prefillTokensPerSecond.toFixed(0)],
  ['ping', ({ rttMs }) => (rttMs === null ? '' : `${rttMs.toFixed(0)} ms`)],
  ['free tokens', ({ freeTokens }) => String(freeTokens)],
  ['training', ({ trains, trainedTokens }) => (trains ? String(trainedTokens ?? '') : 'no')],
  ['weights', ({ quant }) => quant],
  ['arithmetic', ({ arithmetic }) => arithmetic ?? ''],
  ['adapters', ({ adapters }) => (adapters ?? ['none']).map((id) => id.slice(0, 8)).join(', ')],
  ['version', ({ version }) => version]
]

function serverTable(hosts: readonly ServerSnapshot[]): HTMLElement {
  const head = make('tr', {}, ...COLUMNS.map(([name]) => make('th', { scope: 'col' }, name)))
  const rows = hosts.map((server) =>
    make('tr', {}, ...COLUMNS.map(([, text]) => make('td', {}, text(server))))
  )
  const table = make(
    'table',
    { class: 'servers' },
    make('thead', {}, head),
    make('tbody', {}, ...rows)
  )
  return make('div', { class: 'scroll', tabindex: '0' }, table)
}

const WHY = {
  missing: 'nobody serves them',
  alone: 'one server does, and nobody takes over',
  slowest: 'they are the slowest'
} as const

function needList({ needs }: ModelSnapshot): HTMLElement {
  return make(
    'ul',
    { class: 'needs' },
    ...needs.map(({ start, end, why, command }) =>
      make(
        'li',
        {},
        `Blocks ${start}:${end}, ${WHY[why]}: `,
        make('code', {}, command),
        ' ',
        copyButton(() => command)
      )
    )
  )
}

function historyLine({ history, name }: ModelSnapshot): [HTMLElement, SVGSVGElement] {
  const space = 'http://www.w3.org/2000/svg'
  const svg = document.createElementNS(space, 'svg')
  const most = Math.max(1, ...history.map(({ tokensPerSecond }) => tokensPerSecond))
  const points = history.map(
    ({ tokensPerSecond }, i) =>
      `${((100 * i) / (history.length - 1)).toFixed(2)},${(38 - (36 * tokensPerSecond) / most).toFixed(2)}`
  )
  svg.setAttribute('viewBox', '0 0 100 40')
  svg.setAttribute('preserveAspectRatio', 'none')
  svg.setAttribute('class', 'history')
  svg.setAttribute('role', 'img')
  svg.setAttribute(
    'aria-label',
    `Tokens a second of ${name} in the last hour, at most ${most.toFixed(1)}`
  )
  const line = document.createElementNS(space, 'polyline')
  line.setAttribute('points', points.join(' '))
  svg.append(line)
  const words = `Tokens a second in the last hour, at most ${most.toFixed(1)}`
  return [make('p', { class: 'facts caption' }, words), svg]
}

function timeOf(at: number): string {
  return new Date(at).toLocaleTimeString()
}

await look()
