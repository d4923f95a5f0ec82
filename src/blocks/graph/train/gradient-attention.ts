// Attention over whole sequences as small nodes, with its gradient: no cache, a mask keeps
// sequences apart.
import { rotaryOf } from '../../../model/families/rope.ts'
import { alibiSlopes, isWindowed, ropeNames, tensorName } from '../../families/facts.ts'
import type { AttentionOptions } from '../../families/parts.ts'
import type { Value } from '../builder.ts'
import type { ProductScope } from './gradient-products.ts'
import type { GradientTape, Traced } from './gradient-tape.ts'
import { rmsNorm } from './gradient-norms.ts'

/** Names of the inputs that all blocks share. */
export const POSITIONS = 'positions'
/** (count, count): 0 where a row sees another, else a number so low that its share is 0. */
export const MASK = 'mask'

const FLOAT = 1

export function attention(
  scope: ProductScope,
  qkv: Traced,
  options: AttentionOptions = {}
): Traced {
  const { tape, config, block } = scope
  const { headCount, kvHeadCount, headDim } = config
  const counts = [headCount, kvHeadCount, kvHeadCount]
  const parts = splitHeads(tape, qkv, { counts, headDim })
  const names = options.headNorms
  const [query, key, value] = parts.map((part, i) => {
    const name = [names?.query, names?.key][i]
    const weight = name && tape.builder.weight(tensorName(block, name), 'f32', [headDim])
    const normed = weight === undefined ? part : rmsNorm(tape, part, weight, config.rmsEps)
    return i === 2 || config.positions !== undefined ? normed : turn(scope, normed)
  }) as [Traced, Traced, Traced]
  return attend(scope, { query, key, value }, options.alibiScale ?? 1)
}

/** Queries, keys and values, (count, heads, headDim) each. */
function splitHeads(
  tape: GradientTape,
  qkv: Traced,
  { counts, headDim }: { counts: readonly number[]; headDim: number }
): Traced[] {
  const sizes = counts.map((count) => count * headDim)
  const gradients: Value[] = []
  const split = tape.split(qkv.value, sizes)
  // The way back runs from the last part to the first one; then all gradients are there.
  return counts.map((count, i) =>
    tape.record(tape.reshape(split[i] ?? '', [-1, count, headDim]), (gradient) => {
      gradients[i] = tape.reshape(gradient, [1, -1, count * headDim])
      if (i === 0) tape.addTo(qkv, tape.joined(gradients))
    })
  )
}

/** Rotates (count, heads, headDim) by position. */
function turn({ tape, config, block }: ProductScope, x: Traced): Traced {
  const { builder } = tape
  const { cos, sin } = ropeNames(config, block)
  const { headDim } = config
  const rotary = rotaryOf(config)
  const half = rotary / 2
  const [cosines, sines] = [cos, sin].map((name) => {
    const table = builder.weight(name, 'f32', [config.contextLength, half])
    const rows = builder.shared(`rows.${name}`, () => tape.node('Gather', [table, POSITIONS]))
    return builder.shared(`heads.${name}`, () => tape.reshape(rows, [-1, 1, half]))
  }) as [Value, Value]
  const rest = headDim - rotary
  const by = (of: Value, isBack: boolean): Value => {
    const [a = '', b = '', ...others] = tape.split(of, rest > 0 ? [half, half, rest] : [half, half])
    const product = (one: Value, other: Value): Value => tape.node('Mul', [one, other])
    const [plus, minus] = isBack ? (['Sub', 'Add'] as const) : (['Add', 'Sub'] as const)
    return tape.joined([
      tape.node(minus, [product(a, cosines), product(b, sines)]),
      tape.node(plus, [product(b, cosines), product(a, sines)]),
      ...others
    ])
  }
  return tape.record(by(x.value, false), (gradient) => tape.addTo(x, by(gradient, true)))
}

function attend(
  scope: ProductScope,
  { query, key, value }: { query: Traced; key: Traced; value: Traced },
  alibiScale: number
): Traced {
  const { tape, config, block } = scope
  const { headCount, kvHeadCount, headDim, attentionSoftCap: cap } = config
  const scale = config.attentionScale ?? headDim ** -0.5
  const group = headCount / kvHeadCount
  // (kvHeads, heads of each, count, headDim)
  const laid = (x: Value, each: number): Value =>
    tape.turned(tape.reshape(x, [-1, kvHeadCount, each, headDim]), [1, 2, 0, 3])
  const unlaid = (x: Value, each: number): Value =>
    tape.reshape(tape.turned(x, [2, 0, 1, 3]), [-1, kvHeadCount * each, headDim])
  const across = (x: Value): Value => tape.turned(x, [0, 1, 3, 2])
  const product = (a: Value, b: Value): Value => tape.node('MatMul', [a, b])
  const [q, k, v] = [laid(query.value, group), laid(key.value, 1), laid(value.value, 1)]
  let scores = tape.times(product(q, across(k)), scale)
  const bent = cap === undefined ? undefined : tape.node('Tanh', [tape.times(scores, 1 / cap)])
  if (bent !== undefined && cap !== undefined) scores = tape.times(bent, cap)
  if (config.positions === 'alibi') {
    scores = tape.node('Add', [scores, alibi(tape, { headCount, kvHeadCount, alibiScale })])
  }
  const mask = isWindowed(config, block) ? `${MASK}.window` : MASK
  const shares = tape.node('Softmax', [tape.node('Add', [scores, mask])], { axis: -1 })
  const out = tape.reshape(unlaid(product(shares, v), group), [1, -1, headCount * headDim])
  return tape.record(out, (gradient) => {
    const g = laid(gradient, group)
    tape.addTo(value, unlaid(tape.sum(product(across(shares), g), 1), 1))
    const slopes = product(g, across(v))
    const along = tape.sum(tape.node('Mul', [slopes, shares]), -1)
    let back = tape.node('Mul', [shares, tape.node('Sub', [slopes, along])])
    if (bent !== undefined) {
      const flat = tape.node('Sub', [tape.scalar(1), tape.node('Mul', [bent, bent])])
      back = tape.node('Mul', [back, flat])
    }
    back = tape.times(back, scale)
    tape.addTo(query, unlaid(product(back, k), group))
    tape.addTo(key, unlaid(tape.sum(product(across(back), q), 1), 1))
  })
}

/** Slope times (key's position - row's), (kvHeads, heads of each, count, count). */
function alibi(
  tape: GradientTape,
  of: { headCount: number; kvHeadCount: number; alibiScale: number }
): Value {
  const { headCount, kvHeadCount, alibiScale } = of
  return tape.builder.shared('alibi', () => {
    const at = tape.node('Cast', [POSITIONS], { to: FLOAT })
    const apart = [tape.reshape(at, [1, -1]), tape.reshape(at, [-1, 1])]
    const dims = [kvHeadCount, headCount / kvHeadCount, 1, 1]
    const slopes = alibiSlopes(headCount).map((slope) => slope * alibiScale)
    const values = tape.builder.constant('slopes', 'f32', dims, new Uint8Array(slopes.buffer))
    return tape.node('Mul', [values, tape.node('Sub', apart)])
  })
}
