// The arithmetic of this project: what the bits of a row are. It is defined here and not by what
// some library does, so that a row is the same on every instruction set, for any number of threads,
// however a text was cut into steps and whoever's rows ran beside it. Kernels may compute in any
// way that gives these bits; a change of them is a change of ARITHMETIC.
//
// # Numbers
// All floats are IEEE 754 binary32 in the default environment: round to nearest even, subnormals
// kept. `a * b + c` rounds twice; `fma(a, b, c)` rounds once, and only where it is written.
// Division and square root are IEEE's. float16 rounds to nearest even; what is too large becomes
// infinite. A *chain* over i: acc = 0, then acc = fma(a[i], b[i], acc) for i in ascending order.
// *Sixteen lanes* over i: lane l takes i = l, l + 16, ... in ascending order, each lane begins at
// 0; then lanes fold: 16 to 8 by l + (l + 8), 8 to 4 by l + (l + 4), 4 to 2, 2 to 1.
//
// # Functions (c/math.h has the constants)
// exp(x): n = nearest even of x * log2(e); r = fma(n, -ln2 low, fma(n, -ln2 high, x)); a polynomial
// in r by Horner with fma; times 2 ** n. 0 below -87.3, infinite over 88.7. sigmoid(x) = 1 / (1 +
// exp(-x)). silu(x) = x / (1 + exp(-x)). tanh(x): an odd polynomial for |x| < 0.625, else 1 - 2 /
// (exp(2|x|) + 1) with x's sign. erf(x): an odd polynomial for |x| < 1, else 1 - exp(-x * x) * a
// polynomial's. gelu by tanh: 0.5 * x * (1 + tanh(x * fma(0.0356774081, x * x, 0.7978845608))).
// gelu by erf: 0.5 * x * (1 + erf(x * 0.70710678)).
//
// # Norms
// RMS: s = sixteen lanes of fma(x, x, acc); r = 1 / sqrt(s / n + eps); y = (x * r) * weight. Layer:
// m = sixteen lanes of acc + x, / n; d = x - m; s = sixteen lanes of fma(d, d, acc); r as above; y
// = fma(d * r, weight, bias). A head's norm is RMS over the head.
//
// # Turning (RoPE)
// Of values a = x[i] and b = x[i + rotary / 2] with c and s of the row's position: a' = fma(a, c,
// -(b * s)), b' = fma(b, c, a * s). Tables are made in double by rope.ts, whose functions are of
// this room, too, then rounded.
//
// # Attention, of one row and one head
// Keys and values are held as float16 (or float32; or int8 with a scale for each position and head,
// max / 127, value = nearest even of x * (127 / max)). Positions fall into chunks of 256 that begin
// at multiples of 256. A chunk without a visible position is left out; in every other one:
//   score[j] = (chain over d of q[d] * k[j][d]) * scale; int8: the chain is over integers, then times the
//     position's scale, then times `scale`
//   with a cap: score = cap * tanh(score / cap); with ALiBi: score = fma(slope, j - position, score)
//   m = largest score; p[j] = exp(score[j] - m), 0 where j is not visible; z = sixteen lanes of acc + p[j],
//   lanes by j modulo 16; a[d] = chain over visible j of p[j] * v[j][d] (int8: p[j] * scale[j])
// Chunks join in order, beginning with the first one's (m, z, a): M = max(m, m'), f = exp(m - M), g
// = exp(m' - M), z = fma(z, f, z' * g), a = fma(a, f, a' * g). A sink joins last, with m' = sink,
// z' = 1, a' = 0. The result is a * (1 / z).
//
// # Experts
// Router's scores are a product like others. Chosen are the largest scores, lower numbers first
// among equals. Shares: with M the row's largest score, e[i] = exp(score[i] - M); sum over all
// experts or over the chosen ones in that order; share = e / sum. The result is the chain over the
// chosen ones, in their order, of share * (down of the activation of gateUp).
//
// # The rest
// Residual streams, branches and biases are plain additions in the order in which the program has
// them. A soft cap of logits is cap * tanh(x / cap).

/** Named in server info and `--version`: peers of one name give the same bits. */
export const ARITHMETIC = 'petals-1'
