// Norms and their gradients, of rows or of single heads: along the last axis.
import type { Value } from '../builder.ts'
import type { GradientTape, Traced } from './gradient-tape.ts'

export function rmsNorm(tape: GradientTape, x: Traced, weight: Value, epsilon: number): Traced {
  const product = (a: Value, b: Value): Value => tape.node('Mul', [a, b])
  const r = inverse(tape, product(x.value, x.value), epsilon)
  const normed = product(x.value, r)
  return tape.record(product(normed, weight), (gradient) => {
    const h = product(gradient, weight)
    const along = product(normed, tape.mean(product(h, normed)))
    tape.addTo(x, product(tape.node('Sub', [h, along]), r))
  })
}

export function layerNorm(
  tape: GradientTape,
  x: Traced,
  weights: { readonly weight: Value; readonly bias: Value },
  epsilon: number
): Traced {
  const { weight, bias } = weights
  const product = (a: Value, b: Value): Value => tape.node('Mul', [a, b])
  const away = tape.node('Sub', [x.value, tape.mean(x.value)])
  const r = inverse(tape, product(away, away), epsilon)
  const normed = product(away, r)
  return tape.record(tape.node('Add', [product(normed, weight), bias]), (gradient) => {
    const h = product(gradient, weight)
    const along = product(normed, tape.mean(product(h, normed)))
    const level = tape.node('Sub', [h, tape.mean(h)])
    tape.addTo(x, product(tape.node('Sub', [level, along]), r))
  })
}

/** 1 / sqrt(mean + epsilon) */
function inverse(tape: GradientTape, squares: Value, epsilon: number): Value {
  const root = tape.node('Sqrt', [tape.node('Add', [tape.mean(squares), tape.scalar(epsilon)])])
  return tape.node('Reciprocal', [root])
}
