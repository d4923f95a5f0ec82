// Numbers that every instruction set must agree on: float16, bfloat16, and fma where there is none.
#ifndef PK_NUMBERS_H
#define PK_NUMBERS_H
#include <stddef.h>
#include <stdint.h>

#define PK_INLINE inline __attribute__((always_inline))

#if defined(__FMA__) || defined(__aarch64__)
#define PK_FUSED 1
#else
#define PK_FUSED 0
#endif

static PK_INLINE uint32_t pk_bits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}

static PK_INLINE float pk_float(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

static PK_INLINE uint16_t pk_u16(const void* p) {
  uint16_t value;
  __builtin_memcpy(&value, p, 2);
  return value;
}

static PK_INLINE uint32_t pk_u32(const void* p) {
  uint32_t value;
  __builtin_memcpy(&value, p, 4);
  return value;
}

// A float16 that is finite. The product is exact, also for those below the normal range.
static PK_INLINE float pk_half(uint16_t half) {
  float magnitude = pk_float((uint32_t)(half & 0x7fff) << 13) * 0x1p112f;
  return pk_float(pk_bits(magnitude) | (uint32_t)(half & 0x8000) << 16);
}

static PK_INLINE int pk_half_finite(uint16_t half) { return (half & 0x7c00) != 0x7c00; }

static PK_INLINE int pk_finite(float value) { return (pk_bits(value) & 0x7f800000) != 0x7f800000; }

static PK_INLINE float pk_bfloat(uint16_t bits) { return pk_float((uint32_t)bits << 16); }

// The nearest float16, ties to even; what is too large becomes infinite.
static PK_INLINE uint16_t pk_nearest_half(float value) {
  uint32_t bits = pk_bits(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x47800000) return (uint16_t)(sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00));
  if (magnitude < 0x38800000) {
    // Below the normal range: the sum's last place is that of the smallest float16.
    return (uint16_t)(sign | (pk_bits(pk_float(magnitude) + 0.5f) - 0x3f000000));
  }
  uint32_t rounded = magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1);
  return (uint16_t)(sign | rounded >> 13);
}

// The nearest bfloat16, ties to even, of a finite float.
static PK_INLINE uint16_t pk_nearest_bfloat(float value) {
  uint32_t bits = pk_bits(value);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// a * b + c with one rounding. Without the instruction: the product is exact in double, the sum is
// rounded to odd (to the neighbour whose last bit is 1), and then to float as if it were exact.
static PK_INLINE float pk_fused(float a, float b, float c) {
#if PK_FUSED
  return __builtin_fmaf(a, b, c);
#else
  double p = (double)a * b, q = c, s = p + q, t = s - p, error = (p - (s - t)) + (q - t);
  int64_t bits;
  __builtin_memcpy(&bits, &s, 8);
  int64_t inexact = -(int64_t)((error < 0) | (error > 0));
  int64_t beyond = -(int64_t)((error < 0) ^ (s < 0));
  bits = (bits + (inexact & beyond)) | (inexact & 1);
  __builtin_memcpy(&s, &bits, 8);
  return (float)s;
#endif
}

#endif
