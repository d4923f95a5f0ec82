// Sixteen floats, as wide as arithmetic.ts needs them: one register of AVX-512, two of AVX2, four
// of NEON. The compiler splits the operators; functions that have no operator are written out for
// each instruction set.
#ifndef PK_VECTOR_H
#define PK_VECTOR_H
#include <stddef.h>
#include <stdint.h>
#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define V_INLINE static inline __attribute__((always_inline, unused))
#if defined(__FMA__) || defined(__aarch64__)
#define PK_HAS_FMA 1
#endif
#ifdef __has_builtin
#if __has_builtin(__builtin_elementwise_fma)
#define PK_HAS_VECTOR_FMA 1
#endif
#endif

typedef float v16 __attribute__((vector_size(64)));
typedef int32_t i16x __attribute__((vector_size(64)));
typedef float v16_any __attribute__((vector_size(64), aligned(4), may_alias));

V_INLINE v16 v_load(const float* at) { return *(const v16_any*)at; }
V_INLINE void v_store(float* at, v16 x) { *(v16_any*)at = x; }
V_INLINE v16 v_set(float x) {
  return (v16){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}
V_INLINE i16x v_set_int(int32_t x) {
  return (i16x){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}

// Without the instruction: the product is exact in double, and the sum is rounded to odd there, so
// that rounding once more to float gives what rounding once would have given.
V_INLINE float pk_soft_fma(float a, float b, float c) {
  union {
    double value;
    uint64_t bits;
  } sum;
  double product = (double)a * (double)b;
  sum.value = product + (double)c;
  double part = sum.value - product;
  double error = (product - (sum.value - part)) + ((double)c - part);
  if ((error < 0 || error > 0) && !(sum.bits & 1)) {
    sum.bits += (error > 0) == (sum.value > 0) ? 1 : (uint64_t)-1;
  }
  return (float)sum.value;
}

V_INLINE float pk_fma(float a, float b, float c) {
#ifdef PK_HAS_FMA
  return __builtin_fmaf(a, b, c);
#else
  return pk_soft_fma(a, b, c);
#endif
}

V_INLINE v16 v_fma(v16 a, v16 b, v16 c) {
#if defined(PK_HAS_FMA) && defined(PK_HAS_VECTOR_FMA)
  return __builtin_elementwise_fma(a, b, c);
#elif defined(__AVX512F__)
  return (v16)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(PK_HAS_FMA)
  for (int i = 0; i < 16; i++) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
#else
  typedef double d16 __attribute__((vector_size(128)));
  typedef int64_t l16 __attribute__((vector_size(128)));
  d16 third = __builtin_convertvector(c, d16);
  d16 product = __builtin_convertvector(a, d16) * __builtin_convertvector(b, d16);
  d16 sum = product + third;
  d16 part = sum - product;
  d16 error = (product - (sum - part)) + (third - part);
  l16 inexact = (l16)(error < 0) | (l16)(error > 0);
  l16 up = ~((l16)(error > 0) ^ (l16)(sum > 0));
  l16 bits = (l16)sum;
  l16 even = (bits & 1) - 1;
  // -1 where it grows: adds 1; 0 where it shrinks: adds -1.
  bits += (inexact & even) & ((up & 2) - 1);
  return __builtin_convertvector((d16)bits, v16);
#endif
}

V_INLINE v16 v_select(i16x where, v16 yes, v16 no) {
  return (v16)((where & (i16x)yes) | (~where & (i16x)no));
}
V_INLINE v16 v_max(v16 a, v16 b) {
#if defined(__AVX512F__)
  return (v16)_mm512_max_ps((__m512)a, (__m512)b);
#else
  return v_select(a > b, a, b);
#endif
}
V_INLINE v16 v_min(v16 a, v16 b) {
#if defined(__AVX512F__)
  return (v16)_mm512_min_ps((__m512)a, (__m512)b);
#else
  return v_select(a < b, a, b);
#endif
}
V_INLINE v16 v_abs(v16 x) { return (v16)((i16x)x & v_set_int(0x7fffffff)); }
V_INLINE i16x v_lanes(void) {
  return (i16x){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
}

// 16 rows of 16 values as columns: to[j][i] = from[i][j].
V_INLINE void v_turn(const float* from, ptrdiff_t from_stride, float* to, ptrdiff_t to_stride) {
  v16 a[16], b[16];
#define V_ZIP(x, y, at)                                                                                     \
  __builtin_shufflevector(x, y, at, 16 + at, at + 1, 17 + at, at + 2, 18 + at, at + 3, 19 + at, at + 4,      \
                          20 + at, at + 5, 21 + at, at + 6, 22 + at, at + 7, 23 + at)
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) a[i] = v_load(from + i * from_stride);
#pragma GCC unroll 2
  for (int twice = 0; twice < 2; twice++) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) b[2 * i] = V_ZIP(a[i], a[i + 8], 0), b[2 * i + 1] = V_ZIP(a[i], a[i + 8], 8);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) a[2 * i] = V_ZIP(b[i], b[i + 8], 0), a[2 * i + 1] = V_ZIP(b[i], b[i + 8], 8);
  }
#undef V_ZIP
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) v_store(to + i * to_stride, a[i]);
}

// Nearest even, for |x| < 2^22.
V_INLINE v16 v_round(v16 x) {
  const v16 magic = v_set(12582912.0f);
  return (x + magic) - magic;
}

// Lanes fold as arithmetic.ts says: 16 to 8, 4, 2, 1.
V_INLINE float v_sum(v16 x) {
  typedef float v8 __attribute__((vector_size(32)));
  typedef float v4 __attribute__((vector_size(16)));
  union {
    v16 whole;
    v8 half[2];
  } a = {x};
  union {
    v8 whole;
    v4 half[2];
  } b = {a.half[0] + a.half[1]};
  v4 c = b.half[0] + b.half[1];
  return (c[0] + c[2]) + (c[1] + c[3]);
}

V_INLINE float v_largest(v16 x) {
  float most = x[0];
  for (int i = 1; i < 16; i++) most = x[i] > most ? x[i] : most;
  return most;
}

V_INLINE float pk_sqrt(float x) {
#if defined(__aarch64__)
  float y;
  __asm__("fsqrt %s0, %s1" : "=w"(y) : "w"(x));
  return y;
#elif defined(__x86_64__)
  float y;
  __asm__("sqrtss %1, %0" : "=x"(y) : "x"(x));
  return y;
#else
  return __builtin_sqrtf(x);
#endif
}

// float16

V_INLINE v16 v_from_half(const uint16_t* at) {
#if defined(__AVX512F__)
  return (v16)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)at));
#elif defined(__F16C__)
  union {
    __m256 half[2];
    v16 whole;
  } x;
  x.half[0] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)at));
  x.half[1] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(at + 8)));
  return x.whole;
#elif defined(__aarch64__)
  union {
    float32x4_t part[4];
    v16 whole;
  } x;
  for (int i = 0; i < 4; i++) {
    x.part[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(at + 4 * i)));
  }
  return x.whole;
#else
  typedef uint16_t h16 __attribute__((vector_size(32), aligned(2), may_alias));
  i16x half = __builtin_convertvector(*(const h16*)at, i16x);
  i16x rest = half & 0x7fff;
  // 2^112 moves the exponent to its place, of subnormals, too.
  v16 value = (v16)(rest << 13) * v_set(0x1p112f);
  i16x high = (rest >= 0x7c00) & 0x7f800000;
  return (v16)((i16x)value | high | ((half & 0x8000) << 16));
#endif
}

V_INLINE uint16_t pk_to_half(float x) {
#if defined(__aarch64__)
  __fp16 half = (__fp16)x;
  uint16_t bits;
  __builtin_memcpy(&bits, &half, 2);
  return bits;
#elif defined(__F16C__)
  return (uint16_t)_cvtss_sh(x, 0);
#else
  union {
    float value;
    uint32_t bits;
  } in = {x}, out;
  uint32_t sign = (in.bits >> 16) & 0x8000;
  in.bits &= 0x7fffffff;
  if (in.bits > 0x7f800000) return (uint16_t)(sign | 0x7e00);
  if (in.bits >= 0x47800000) return (uint16_t)(sign | 0x7c00);
  if (in.bits < 0x38800000) {
    // One half has so large a unit that adding it rounds the value to float16's subnormals.
    out.value = in.value + 0.5f;
    return (uint16_t)(sign | (out.bits - 0x3f000000));
  }
  in.bits += 0xc8000fff + ((in.bits >> 13) & 1);
  return (uint16_t)(sign | (in.bits >> 13));
#endif
}

// Sixteen signed bytes as floats.
V_INLINE v16 v_from_bytes(const int8_t* at) {
#if defined(__AVX512F__)
  return (v16)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)at)));
#elif defined(__AVX2__)
  union {
    __m256 half[2];
    v16 whole;
  } x;
  __m128i bytes = _mm_loadu_si128((const __m128i*)at);
  x.half[0] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  x.half[1] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)));
  return x.whole;
#else
  typedef int8_t b16 __attribute__((vector_size(16), aligned(1), may_alias));
  return __builtin_convertvector(__builtin_convertvector(*(const b16*)at, i16x), v16);
#endif
}

#endif
