// The losses of a training as a picture. Pure.

export interface LossPoint {
  readonly step: number
  readonly loss: number
  /** Of examples that are not trained on. */
  readonly evalLoss?: number | undefined
}

const WIDTH = 720
const HEIGHT = 360
const MARGIN = 48

/** An SVG file. */
export function lossChart(points: readonly LossPoint[], title: string): string {
  const losses = points.flatMap(({ loss, evalLoss }) => [
    loss,
    ...(evalLoss === undefined ? [] : [evalLoss])
  ])
  const [low, high] = [Math.min(...losses), Math.max(...losses)]
  const last = Math.max(1, points.at(-1)?.step ?? 1)
  const x = (step: number): string => (MARGIN + (step / last) * (WIDTH - 2 * MARGIN)).toFixed(1)
  const y = (loss: number): string =>
    (HEIGHT - MARGIN - ((loss - low) / (high - low || 1)) * (HEIGHT - 2 * MARGIN)).toFixed(1)
  const line = (of: readonly (readonly [number, number])[]): string =>
    of.map(([step, loss]) => `${x(step)},${y(loss)}`).join(' ')
  const trained = line(points.map(({ step, loss }) => [step, loss]))
  const others = line(
    points.flatMap(({ step, evalLoss }) =>
      evalLoss === undefined ? [] : [[step, evalLoss] as const]
    )
  )
  const label = (text: string, at: string): string => `<text ${at}>${escape(text)}</text>`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" ` +
      `viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    label(title, `x="${MARGIN}" y="24" font-size="14"`),
    label(high.toFixed(3), `x="4" y="${y(high)}"`),
    label(low.toFixed(3), `x="4" y="${y(low)}"`),
    label(`step ${last}`, `x="${WIDTH - MARGIN - 24}" y="${HEIGHT - 16}"`),
    `<polyline points="${trained}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>`,
    `<polyline points="${others}" fill="none" stroke="#d1242f" stroke-width="1.5"/>`,
    '</svg>',
    ''
  ].join('\n')
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
