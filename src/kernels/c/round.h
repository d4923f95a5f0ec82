// Floats rounded to blocks of 32 integers: int8 symmetric, int4 with a minimum. All sums go by eight
// lanes that then fold, so that every compiler and instruction set finds the same codes.
#include "numbers.h"

static PK_INLINE float pk_fold8(const float* lanes) {
  float a = (lanes[0] + lanes[4]) + (lanes[2] + lanes[6]);
  return a + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

static PK_INLINE float pk_largest(const float* values) {
  float largest = 0;
  for (int i = 0; i < 32; i++) {
    float magnitude = pk_float(pk_bits(values[i]) & 0x7fffffff);
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
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

// Codes of `values` by float16 bits of a scale and a minimum; the squared error that they leave.
static float pk_try4(const float* values, const uint16_t* halves, float* codes) {
  float scale = pk_half(halves[0]), minimum = pk_half(halves[1]), inverse = scale > 0 ? 1 / scale : 0;
  float lanes[8] = {0};
  for (int i = 0; i < 32; i += 8) {
    for (int l = 0; l < 8; l++) {
      float v = (values[i + l] - minimum) * inverse;
      v = v < 0 ? 0 : v > 15 ? 15 : v;
      float code = (float)(int32_t)(v + 0.5f);
      float error = code * scale + minimum - values[i + l];
      codes[i + l] = code;
      lanes[l] += error * error;
    }
  }
  return pk_fold8(lanes);
}

// The scale and minimum that fit codes best, by least squares. 0 where all codes are one.
static int pk_fit4(const float* values, const float* codes, float* scale, float* minimum) {
  float c[8] = {0}, cc[8] = {0}, x[8] = {0}, cx[8] = {0};
  for (int i = 0; i < 32; i += 8) {
    for (int l = 0; l < 8; l++) {
      c[l] += codes[i + l];
      cc[l] += codes[i + l] * codes[i + l];
      x[l] += values[i + l];
      cx[l] += codes[i + l] * values[i + l];
    }
  }
  double sc = pk_fold8(c), scc = pk_fold8(cc), sx = pk_fold8(x), scx = pk_fold8(cx);
  double determinant = 32 * scc - sc * sc;
  if (determinant <= 0) return 0;
  *scale = (float)((32 * scx - sc * sx) / determinant);
  *minimum = (float)((scc * sx - sc * scx) / determinant);
  return *scale > 0;
}

// As Q4_1: a float16 scale, a float16 minimum, 32 codes. The scale is searched: the range divided by
// 14 to 16, each fitted by least squares, and of all the one with the least squared error.
static void pk_round4(const float* values, uint8_t* block) {
  enum { TRIED = 5 };
  float low = values[0], high = values[0], codes[32], best[32], least = 0;
  uint16_t chosen[2] = {0, 0};
  for (int i = 1; i < 32; i++) {
    low = values[i] < low ? values[i] : low;
    high = values[i] > high ? values[i] : high;
  }
  for (int t = 0; t < 2 * TRIED; t++) {
    uint16_t halves[2];
    float scale, minimum;
    if (t % 2 == 0) {
      scale = (high - low) / (14.0f + 0.5f * (float)(t / 2));
      minimum = low;
    } else if (!pk_fit4(values, codes, &scale, &minimum)) {
      continue;
    }
    halves[0] = pk_nearest_half(scale);
    halves[1] = pk_nearest_half(minimum);
    if (!pk_half_finite(halves[0]) || !pk_half_finite(halves[1])) {
      if (t == 0) __builtin_memcpy(chosen, halves, 4);
      continue;
    }
    float error = pk_try4(values, halves, codes);
    if (t > 0 && !(error < least)) continue;
    least = error;
    __builtin_memcpy(chosen, halves, 4);
    __builtin_memcpy(best, codes, sizeof best);
  }
  __builtin_memcpy(block, chosen, 4);
  // Too large for float16: pk_pack refuses the row.
  if (!pk_half_finite(chosen[0]) || !pk_half_finite(chosen[1])) return;
  for (int i = 0; i < 16; i++) block[4 + i] = (uint8_t)((int)best[i] | (int)best[16 + i] << 4);
}
