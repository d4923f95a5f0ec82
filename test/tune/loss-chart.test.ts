import { describe, expect, test } from 'bun:test'
import { lossChart } from '../../src/tune/loss-chart.ts'

const numbersOf = (svg: string, name: string): number[][] =>
  [...svg.matchAll(new RegExp(`<${name} [^>]*>`, 'g'))].map(([tag]) =>
    [...tag.matchAll(/-?\d+(\.\d+)?/g)].map(([number]) => Number(number))
  )

describe('lossChart()', () => {
  test('has round numbers around the losses, and both kinds of losses', () => {
    const points = [
      { step: 1, loss: 3.21 },
      { step: 2, loss: 2.4, evalLoss: 2.9 },
      { step: 3, loss: 1.87 }
    ]
    const svg = lossChart(points, 'a <model> & more')
    for (const text of ['>1.5<', '>2<', '>3.5<', 'step 1', 'step 3', 'learnt', 'held']) {
      expect(svg).toContain(text)
    }
    expect(svg).toContain('a &lt;model&gt; &amp; more')
    expect(numbersOf(svg, 'circle').length).toBe(1)
  })

  test.each([
    ['one step', [{ step: 1, loss: 2 }]],
    ['losses that stay', [1, 2, 3].map((step) => ({ step, loss: 0 }))],
    ['many steps', Array.from({ length: 5000 }, (_, i) => ({ step: i + 1, loss: 5 / (i + 1) }))]
  ])('stays inside its picture with %s', (_, points) => {
    const svg = lossChart(points, 'm')
    expect(svg).not.toMatch(/NaN|Infinity/)
    expect(svg.length).toBeLessThan(20_000)
    for (const [, list = ''] of svg.matchAll(/points="([^"]*)"/g)) {
      for (const pair of list.split(' ').filter(Boolean)) {
        const [x = NaN, y = NaN] = pair.split(',').map(Number)
        expect(x >= 0 && x <= 720 && y >= 0 && y <= 360).toBe(true)
      }
    }
  })
})
