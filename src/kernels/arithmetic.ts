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
// # Matrix products
// A row x is rounded by blocks of 32 along k, the last one filled up with zeros. With m the block's
// largest |x|: d = m / 127, q = nearest even of x * (127 / m). Where m < 2 ** -100, d and q are 0;
// where m is not finite, d is NaN and q is 0. Sums of q are integers: S of all, S0 of the first 16,
// S1 of the last. y = 0; then for each block of 32 weights in order, y = fma(D, w * d, y), and in
// forms with a minimum y = fma(n, d * S, y) after it. D, the sum of code * q, is an integer below
// 2 ** 24, so a float has it exactly, and so has it w and n. At last y = y + bias.
//   form           code                            w                        n
//   Q4_0           4 bits - 8                      scale
//   Q4_1, I4       4 bits                          scale                    minimum
//   Q5_0           5 bits - 16                     scale
//   Q5_1           5 bits                          scale                    minimum
//   Q8_0, I8       signed byte                     scale
//   IQ4_NL         IQ4's table of 4 bits           scale
//   MXFP4          twice FP4's value               2 ** (exponent - 128)
//   Q4_K, Q5_K     4 or 5 bits                     scale * 6 bits           -(minimum * 6 bits)
//   IQ4_XS         IQ4's table of 4 bits           scale * (6 bits - 32)
// Floats become I8 by w = float16 of max / 127, and I4 by a search: ranges divided by 14 to 16,
// each fitted by least squares, and the least squared error of all (c/products/round.h). Forms with
// two factors in a block have D = c0 * D0 + c1 * D1, of the first and the last 16, and where there
// is a minimum y = fma(n0, d * S0, y), then y = fma(n1, d * S1, y):
//   Q2_K           2 bits, c: 4 bits               scale                    -(minimum * 4 bits)
//   Q3_K           3 bits - 4, c: 6 bits - 32      scale
//   Q6_K           6 bits - 32, c: signed byte     scale
// A product with rows that are not rounded, and every one of F32, F16 and BF16, is the chain over k
// of weight * x, plus bias. A weight is then code * w + n (Q2_K, Q3_K, Q6_K: code * (w * c) + n),
// rounded once.
//
// # Functions (c/functions.h has the constants)
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
// -(b * s)), b' = fma(b, c, a * s). Tables are made in float64 by
// base/double-math.ts, then rounded.
//
// # Attention, of one row and one head
// Keys and values are held as float16 (or float32; or int8 with a scale for each position and head,
// max / 127, value = nearest even of x * (127 / max)). Positions fall into chunks of 256 that begin
// at multiples of 256. A chunk without a visible position is left out; in every other one:
//   score[j] = (chain over d of q[d] * k[j][d]) * scale; int8: the chain is over integers, then
//     times the position's scale, then times `scale`
//   with a cap: score = cap * tanh(score / cap)
//   with ALiBi: score = fma(slope, j - position, score)
//   m = largest score; p[j] = exp(score[j] - m), 0 where j is not visible
//   z = sixteen lanes of acc + p[j], lanes by j modulo 16
//   a[d] = chain over visible j of p[j] * v[j][d] (int8: p[j] * scale[j])
// Chunks join in order, beginning with the first one's (m, z, a): M = max(m, m'), f = exp(m - M), g
// = exp(m' - M), z = fma(z, f, z' * g), a = fma(a, f, a' * g). A sink joins last, with m' = sink,
// z' = 1, and a = a * f. The result is a * (1 / z).
//
// # Experts
// Router's scores are a product like others. Chosen are the largest scores, lower numbers first
// among equals. Shares: with M the row's largest score, e[i] = exp(score[i] - M); sum over all
// experts or over the chosen ones in that order; share = e / sum. The result is the chain over the
// chosen ones, in their order, of share * (down of the activation of gateUp).
//
// # Adapters
// A session may run with adapters; a session without one has the bits that it had. To a row's
// product y of x, with its bias, each adapter of the session adds in their order: low = (chain over
// k of x * A) * scale, of x as floats, not rounded; then y = fma(low, B, y) for the ranks in order.
// `scale` is alpha / rank * the adapter's weight in float64, then rounded. A row at position p that
// enters a block becomes x + prompt[p] where the session has a prompt of more than p rows there.
//
// # Training
// Steps of training take whole sequences. Nothing is rounded to int8: products are chains over k.
// Gradients are named g, that of x by dx; where several come together they are added in the order
// of the program. Weights have none. Product: dx[k] is the chain over the outputs n of g[n] *
// weight, of matrices side by side in their order. Low-rank addition: low = (chain over k of x * A)
// * scale; y = fma(low, B, y) for the ranks in order. Backwards dlow = (chain over n of g * B) *
// scale; dx = fma(dlow, A, dx) likewise; dA and dB are chains over the rows of dlow * x and of low
// * g. Dropout before it, of draws without state: mix(v): v ^= v >> 16, v *= 0x85ebca6b, v ^= v >>
// 13, v *= 0xc2b2ae35, v ^= v >> 16, of 32 bits; u = mix(mix(seed of the row ^ salt * 0x9e3779b9) +
// i * 0x9e3779b9); x[i] becomes 0 where u < threshold, else x[i] * factor; gradients pass likewise.
// The row's seed is mix(seed of its sequence + position * 0x9e3779b9), the salt is block * 64 + the
// target's number, the threshold share * 2 ** 32, the factor 1 / (1 - share). Norms: r as above, h
// = g * weight. RMS: c = (sixteen lanes of fma(h, x, acc)) * r * r * r / n; dx = fma(h, r, -(x *
// c)). Layer: d = x - m; a = sixteen lanes of acc + h, / n; b = sixteen lanes of fma(h, d, acc), *
// r * r / n; dx = fma(-d, b, h - a) * r. Turning: a' = fma(a, c, b * s), b' = fma(b, c, -(a * s)).
// Activations: c/gradients.c has the slopes. Attention of one row and head, over its own sequence:
// scores as above, m the largest of those that it sees (and of the sink); e[j] = exp(score[j] - m),
// 0 where it does not see j; z = sixteen lanes of acc + e[j], by j modulo 16 (then + exp(sink -
// m)); p[j] = e[j] * (1 / z); out[d] = chain over j of p[j] * v[j][d]. Backwards: D = sixteen lanes
// of fma(g[d], out[d], acc); t[j] = p[j] * ((chain over d of g[d] * v[j][d]) - D), with a cap times
// fma(-y, y, 1) where y is its tanh, then * scale; dq[d] = chain over j of t[j] * k[j][d]; dk[j][d]
// and dv[j][d] are chains over the heads that share them and, in each, over the rows, of t[j] *
// q[d] and of p[j] * g[d]. Experts: of a row's chosen ones, in their order, the gradient of what
// one gave is g * share, that of its share the sixteen lanes of fma(g, down, acc); back through
// `down`, activation and gateUp as above; dx is the sum of what they come to, from 0, in that
// order. a = chain of share * its gradient; a chosen score's gradient is share
// * (its gradient - a), of the others 0, or where shares are of all scores -((e / sum) * a). dx
// then goes on as the chain over the experts of these
// * the router's weight.
// Loss of a row of logits with target t: m the largest, z = sixteen lanes of acc + exp(x[i] - m);
// -(x[t] - m) + log(z), that in float64 by base/double-math.ts. The gradient is exp(x[i] - m) *
// (weight / z), less weight for i = t. A cap's is g * fma(-y, y, 1), y = capped / cap.
//
// # The rest
// Residual streams, branches and biases are plain additions in the order in which the program has
// them. A soft cap of logits is cap * tanh(x / cap).

/** Named in server info and `--version`: peers of one name give the same bits. */
export const ARITHMETIC = 'petals-1'
