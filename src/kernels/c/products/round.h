// Floats rounded to blocks of 32 integers: int8 symmetric, int4 with a minimum. Sums go by sixteen
// lanes that then fold, so that every compiler and instruction set finds the same codes.
#include "numbers.h"
#include "../vec/vector.h"

static PK_INLINE float pk_largest(const float* values) {
  return v_largest(v_max(v_abs(v_load(values)), v_abs(v_load(values + 16))));
}

// As Q8_0: a float16 scale and 32 signed bytes.
static void pk_round8(const float* values, uint8_t* block) {
  uint16_t half = pk_nearest_half(pk_largest(values) / 127.0f);
  float scale = pk_half_finite(half) ? pk_half(half) : 0, inverse = scale > 0 ? 1 / scale : 0;
  __builtin_memcpy(block, &half, 2);
  for (int i = 0; i < 32; i++) {
    float v = values[i] * inverse;
    v = v < -127 ? -127 : v > 127 ? 127 : v;
    block[2 + i] = (uint8_t)(int8_t)(int32_t)(v < 0 ? v - 0.5f : v + 0.5f);
  }
}

V_INLINE v16 v_whole(v16 x) { return __builtin_convertvector(__builtin_convertvector(x, i16x), v16); }

// Codes of `x` by float16 bits of a scale and a minimum; the squared error that they leave.
static PK_INLINE float pk_try4(const v16* x, const uint16_t* halves, v16* codes) {
  float scale = pk_half(halves[0]), minimum = pk_half(halves[1]), inverse = scale > 0 ? 1 / scale : 0;
  v16 sum = v_set(0);
  for (int i = 0; i < 2; i++) {
    v16 v = v_min(v_max((x[i] - v_set(minimum)) * v_set(inverse), v_set(0)), v_set(15));
    codes[i] = v_whole(v + v_set(0.5f));
    v16 error = codes[i] * v_set(scale) + v_set(minimum) - x[i];
    sum += error * error;
  }
  return v_sum(sum);
}

// The scale and minimum that fit codes best, by least squares. 0 where all codes are one.
static PK_INLINE int pk_fit4(const v16* x, const v16* codes, float* scale, float* minimum) {
  double c = v_sum(codes[0] + codes[1]), xs = v_sum(x[0] + x[1]);
  double cc = v_sum(codes[0] * codes[0] + codes[1] * codes[1]);
  double cx = v_sum(codes[0] * x[0] + codes[1] * x[1]);
  double determinant = 32 * cc - c * c;
  if (determinant <= 0) return 0;
  *scale = (float)((32 * cx - c * xs) / determinant);
  *minimum = (float)((cc * xs - c * cx) / determinant);
  return *scale > 0;
}

// As Q4_1: a float16 scale, a float16 minimum, 32 codes. The scale is searched: the range divided
// by 14 to 16, each then fitted by least squares, and of all the one with the least squared error.
static void pk_round4(const float* values, uint8_t* block) {
  enum { DIVISORS = 5 };
  const v16 x[2] = {v_load(values), v_load(values + 16)};
  v16 codes[2] = {v_set(0), v_set(0)}, best[2] = {v_set(0), v_set(0)};
  float high = v_largest(v_max(x[0], x[1])), low = -v_largest(v_max(-x[0], -x[1])), least = 0;
  uint16_t chosen[2] = {0, 0};
  for (int t = 0; t < 2 * DIVISORS; t++) {
    float scale = (high - low) / (14.0f + 0.5f * (float)(t / 2)), minimum = low;
    if (t % 2 == 1 && !pk_fit4(x, codes, &scale, &minimum)) continue;
    uint16_t halves[2] = {pk_to_half(scale), pk_to_half(minimum)};
    if (!pk_half_finite(halves[0]) || !pk_half_finite(halves[1])) {
      if (t == 0) __builtin_memcpy(chosen, halves, 4);
      continue;
    }
    float error = pk_try4(x, halves, codes);
    if (t > 0 && !(error < least)) continue;
    least = error;
    __builtin_memcpy(chosen, halves, 4);
    __builtin_memcpy(best, codes, sizeof best);
  }
  __builtin_memcpy(block, chosen, 4);
  // Too large for float16: pk_pack refuses the row.
  if (!pk_half_finite(chosen[0]) || !pk_half_finite(chosen[1])) return;
  for (int i = 0; i < 16; i++) block[4 + i] = (uint8_t)((int)best[0][i] | (int)best[1][i] << 4);
}
