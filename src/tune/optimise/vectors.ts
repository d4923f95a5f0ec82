// Sums and products of lists of floats, each rounded once.

/** into[i] += from[offset + i], for all of `into`. */
export function addInto(into: Float32Array, from: Float32Array, offset = 0): void {
  for (let i = 0; i < into.length; i++) into[i] = into[i]! + from[offset + i]!
}

/** Each row of `width` times its factor. */
export function scaledRows(rows: Float32Array, factors: Float32Array, width: number): Float32Array {
  return rows.map((value, i) => value * factors[Math.floor(i / width)]!)
}
