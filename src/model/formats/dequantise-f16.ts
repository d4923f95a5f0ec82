// Every float16 as a float32: a table of 256 KiB is several times faster than splitting bits.

/** The value of each of the 65,536 bit patterns. */
export function computeF16(): Float32Array {
  const table = new Float32Array(65_536)
  for (let bits = 0; bits < 65_536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1
    const exponent = (bits >> 10) & 31
    const fraction = bits & 1023
    if (exponent === 0) table[bits] = sign * fraction * 2 ** -24
    else if (exponent === 31) table[bits] = fraction === 0 ? sign * Infinity : NaN
    else table[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
  }
  return table
}
