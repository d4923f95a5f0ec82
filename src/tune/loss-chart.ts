// The losses of a training as a picture. Pure.

export interface LossPoint {
  readonly step: number
  readonly loss: number
  /** Of examples that are not trained on. */
  readonly evalLoss?: number | undefined
}

const WIDTH = 720
const HEIGHT = 360
const LEFT = 56
const RIGHT = 16
const TOP = 40
const BOTTOM = 40
/** Lines across, about. */
const TICKS = 5
const TRAINED = '#1f6feb'
const HELD = '#d1242f'
/** Points of a chart: of a longer training each is the mean of some steps. */
const MOST_POINTS = 600

/** An SVG file. */
export function lossChart(points: readonly LossPoint[], title: string): string {
  const trained = means(points)
  const held = points.flatMap(({ step, evalLoss }) =>
    evalLoss === undefined ? [] : [{ step, loss: evalLoss }]
  )
  const losses = [...trained, ...held].map(({ loss }) => loss)
  const across = ticks(Math.min(...losses), Math.max(...losses))
  const [low = 0, high = 1] = [across[0], across.at(-1)]
  const first = trained[0]?.step ?? 0
  const last = Math.max(first + 1, trained.at(-1)?.step ?? 1)
  const x = (step: number): string =>
    (LEFT + ((step - first) / (last - first)) * (WIDTH - LEFT - RIGHT)).toFixed(1)
  const y = (loss: number): string =>
    (HEIGHT - BOTTOM - ((loss - low) / (high - low)) * (HEIGHT - TOP - BOTTOM)).toFixed(1)
  const line = (of: readonly Mean[], colour: string): string =>
    `<polyline points="${of.map(({ step, loss }) => `${x(step)},${y(loss)}`).join(' ')}" ` +
    `fill="none" stroke="${colour}" stroke-width="1.5"/>`
  const dot = ({ step, loss }: Mean, colour: string): string =>
    `<circle cx="${x(step)}" cy="${y(loss)}" r="3" fill="${colour}"/>`
  const label = (text: string, at: string): string => `<text ${at}>${escape(text)}</text>`
  const rows = across.flatMap((loss) => [
    `<line x1="${LEFT}" y1="${y(loss)}" x2="${WIDTH - RIGHT}" y2="${y(loss)}" stroke="#d0d7de"/>`,
    label(plain(loss), `x="${LEFT - 8}" y="${Number(y(loss)) + 4}" text-anchor="end"`)
  ])
  const foot = `y="${HEIGHT - BOTTOM + 20}"`
  const names = [
    ['learnt', TRAINED] as const,
    ...(held.length > 0 ? [['held', HELD] as const] : [])
  ]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" ` +
      `viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    label(title, `x="${LEFT}" y="24" font-size="14"`),
    ...rows,
    label(`step ${first}`, `x="${LEFT}" ${foot}`),
    label(`step ${last}`, `x="${WIDTH - RIGHT}" ${foot} text-anchor="end"`),
    ...names.map(([name, colour], i) =>
      label(name, `x="${WIDTH - RIGHT - 48 * i}" y="24" text-anchor="end" fill="${colour}"`)
    ),
    line(trained, TRAINED),
    ...(trained.length === 1 ? trained.map((one) => dot(one, TRAINED)) : []),
    line(held, HELD),
    ...held.map((one) => dot(one, HELD)),
    '</svg>',
    ''
  ].join('\n')
}

interface Mean {
  readonly step: number
  readonly loss: number
}

/** At most MOST_POINTS of them, each at the last of its steps. */
function means(points: readonly LossPoint[]): Mean[] {
  const size = Math.ceil(points.length / MOST_POINTS)
  const made: Mean[] = []
  for (let at = 0; at < points.length; at += size) {
    const own = points.slice(at, at + size)
    const sum = own.reduce((all, { loss }) => all + loss, 0)
    made.push({ step: own.at(-1)?.step ?? 0, loss: sum / own.length })
  }
  return made
}

/** Round numbers from at most `low` to at least `high`. */
function ticks(low: number, high: number): number[] {
  const wide = Math.max(high - low, Math.abs(high) * 1e-3, 1e-6) / TICKS
  const power = 10 ** Math.floor(Math.log10(wide))
  const each = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= wide) ?? power
  const [first, last] = [Math.floor(low / each), Math.ceil(high / each)]
  const count = Math.max(1, last - first)
  return Array.from({ length: count + 1 }, (_, i) => (first + i) * each)
}

function plain(value: number): string {
  return String(Number(value.toPrecision(6)))
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
