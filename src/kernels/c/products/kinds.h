// How a form's integers become a product, known when compiled: bits of a weight, what is subtracted
// from it, one or two scales in a block of 32, a minimum or none. Also a block of rounded
// activations.
#ifndef PK_KINDS_H
#define PK_KINDS_H
#include "numbers.h"

// Weights are unsigned and `shift` says that 2^shift is subtracted from each; 31: nothing.
#define PK_KIND(bits, shift, two, minimum) ((bits) | (shift) << 4 | (two) << 9 | (minimum) << 10)
#define PK_BITS(kind) ((kind) & 15)
#define PK_SHIFT(kind) ((kind) >> 4 & 31)
#define PK_HAS_OFFSET(kind) (PK_SHIFT(kind) != 31)
#define PK_TWO(kind) ((kind) >> 9 & 1)
#define PK_MINIMUM(kind) ((kind) >> 10 & 1)

// 32 activations: q * scale each. Sums are those of q, exact; `sum`s in floats are times the scale.
struct pk_xblock {
  int8_t q[32];
  float scale;
  float sum, sumLow, sumHigh;  // of all, the first 16, the last 16
  int32_t minusSum, minusLow, minusHigh;
  int16_t minusPair[2];  // low, high
};
_Static_assert(sizeof(struct pk_xblock) == 64, "a block of activations has 64 bytes");

// Scales of a block of 32 weights, of the columns of a vector. With one scale: `scale` and `min0`.
// With two: integers c0 and c1 of 16 weights each, to be multiplied by `scale`; minimums of 16
// each. What is subtracted is in min0 and min1 with its sign.
#define PK_DEFINE_WSCALE \
  struct pk_wscale {     \
    vf scale, min0, min1; \
    vc c0, c1;           \
  };

#endif
