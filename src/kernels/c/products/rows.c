// Rows of activations rounded to int8 by blocks of 32.
#include "kinds.h"
#include "forms.h"

uint64_t pk_xq_bytes(int32_t columns) { return ((uint64_t)columns + 31) / 32 * sizeof(struct pk_xblock); }

static PK_INLINE void pk_finish_block(struct pk_xblock* b, float scale) {
  int32_t low = 0, high = 0;
  for (int i = 0; i < 16; i++) low += b->q[i];
  for (int i = 16; i < 32; i++) high += b->q[i];
  b->scale = scale;
  b->sum = scale * (float)(low + high);
  b->sumLow = scale * (float)low;
  b->sumHigh = scale * (float)high;
  b->minusSum = -(low + high);
  b->minusLow = -low;
  b->minusHigh = -high;
  b->minusPair[0] = (int16_t)-low;
  b->minusPair[1] = (int16_t)-high;
}

// The nearest integer, ties to even, of |v| < 2^22: the sum's last place is 1.
static PK_INLINE int32_t pk_nearest(float v) {
  return (int32_t)(pk_bits(v + 12582912.0f) - 0x4b400000u);
}

// A block whose largest magnitude is below 2^-100 is zeros; one that is not finite makes every sum
// that it enters no number.
static PK_INLINE void pk_round_block(const float* x, struct pk_xblock* b) {
  uint32_t top = 0;
  for (int i = 0; i < 32; i++) {
    uint32_t magnitude = pk_bits(x[i]) & 0x7fffffff;
    top = magnitude > top ? magnitude : top;
  }
  float largest = pk_float(top), scale = largest / 127.0f, inverse = 127.0f / largest;
  if (top < 0x0d800000 || top >= 0x7f800000) {
    for (int i = 0; i < 32; i++) b->q[i] = 0;
    pk_finish_block(b, top >= 0x7f800000 ? pk_float(0x7fc00000) : 0.0f);
    return;
  }
  for (int i = 0; i < 32; i++) b->q[i] = (int8_t)pk_nearest(x[i] * inverse);
  pk_finish_block(b, scale);
}

void pk_quantise_rows(const float* x, int64_t ldx, int32_t rows, int32_t columns, void* xq) {
  struct pk_xblock* b = xq;
  for (int32_t row = 0; row < rows; row++, x += ldx) {
    int32_t k = 0;
    for (; k + 32 <= columns; k += 32) pk_round_block(x + k, b++);
    if (k == columns) continue;
    float last[32] = {0};
    for (int32_t i = k; i < columns; i++) last[i - k] = x[i];
    pk_round_block(last, b++);
  }
}
