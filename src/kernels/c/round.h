// Floats rounded to blocks of 32 integers: int8 symmetric, int4 with a minimum.
#include "numbers.h"

static PK_INLINE int pk_clamp(int v, int low, int high) { return v < low ? low : v > high ? high : v; }

// As Q8_0: a float16 scale and 32 signed bytes.
static void pk_round8(const float* values, uint8_t* block) {
  float largest = 0;
  for (int i = 0; i < 32; i++) {
    float magnitude = pk_float(pk_bits(values[i]) & 0x7fffffff);
    if (magnitude > largest) largest = magnitude;
  }
  uint16_t half = pk_nearest_half(largest / 127.0f);
  float scale = pk_half_finite(half) ? pk_half(half) : 0;
  __builtin_memcpy(block, &half, 2);
  for (int i = 0; i < 32; i++) {
    double v = scale > 0 ? (double)values[i] / scale : 0;
    block[2 + i] = (uint8_t)(int8_t)pk_clamp((int)(v < 0 ? v - 0.5 : v + 0.5), -127, 127);
  }
}

// As Q4_1: a float16 scale, a float16 minimum, 32 codes.
static void pk_round4(const float* values, uint8_t* block) {
  float low = values[0], high = values[0];
  for (int i = 1; i < 32; i++) {
    if (values[i] < low) low = values[i];
    if (values[i] > high) high = values[i];
  }
  uint16_t halves[2] = {pk_nearest_half((high - low) / 15.0f), pk_nearest_half(low)};
  float scale = pk_half_finite(halves[0]) ? pk_half(halves[0]) : 0;
  float minimum = pk_half_finite(halves[1]) ? pk_half(halves[1]) : 0;
  __builtin_memcpy(block, halves, 4);
  for (int i = 0; i < 16; i++) block[4 + i] = 0;
  for (int i = 0; i < 32; i++) {
    double v = scale > 0 ? ((double)values[i] - minimum) / scale : 0;
    int code = pk_clamp((int)(v + 0.5), 0, 15);
    block[4 + i % 16] |= (uint8_t)(code << (i < 16 ? 0 : 4));
  }
}
