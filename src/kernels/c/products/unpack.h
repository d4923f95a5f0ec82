// One row of a packed matrix as floats: the values that dequantising the file's row gives.
#include "layout.h"

// Code `k` (0 to 31) of a block, from the planes of bits.
static PK_INLINE int pk_code(const struct pk_form_layout* l, const struct pk_planes* p, size_t block, int lane,
                             int k) {
  int quad = k >> 2, at = lane * 4 + (k & 3), code = 0, bits = 0;
  if (l->bits8) return (int8_t)p->bits8[block * 512 + (size_t)(quad * 64 + at)];
  if (l->bits4) {
    code = p->bits4[block * 256 + (size_t)((quad >> 1) * 64 + at)] >> (4 * (quad & 1)) & 15;
    bits = 4;
  }
  if (l->bits2) {
    code |= (p->bits2[block * 128 + (size_t)((quad >> 2) * 64 + at)] >> (2 * (quad & 3)) & 3) << bits;
    bits += 2;
  }
  if (l->bits1) code |= (p->bits1[block * 64 + (size_t)at] >> quad & 1) << bits;
  return code;
}

// A block's scale (of values before and from 16 on) and minimums.
static void pk_row_scales(int32_t form, const struct pk_form_layout* l, const struct pk_planes* p, size_t block,
                          int lane, float* scale, float* minimum) {
  size_t super = block / ((size_t)l->block / 32);
  const uint8_t *small = p->scales + super * (size_t)l->scales, *delta = p->deltas + super * (size_t)l->deltas;
  int j = (int)(block & 7);
  float d = l->deltas ? pk_half(pk_u16(delta + lane * 2)) : 0;
  float m = l->deltas == 64 ? pk_half(pk_u16(delta + 32 + lane * 2)) : 0;
  uint32_t words[3] = {0, 0, 0};
  for (int i = 0; i < l->scales / 64 && i < 3; i++) words[i] = pk_u32(small + i * 64 + lane * 4);
  scale[0] = scale[1] = d;
  minimum[0] = minimum[1] = m;
  switch (form) {
    case PK_MXFP4:
      scale[0] = scale[1] = pk_e8m0(small[lane]);
      return;
    case PK_Q4_K:
    case PK_Q5_K: {
      int at = 8 * (j & 3);
      uint32_t a = words[0] >> at & 255, b = words[1] >> at & 255, c = words[2] >> at & 255;
      uint32_t sc = j < 4 ? a & 63 : (c & 15) | a >> 6 << 4, mn = j < 4 ? b & 63 : c >> 4 | b >> 6 << 4;
      scale[0] = scale[1] = d * (float)sc;
      minimum[0] = minimum[1] = -(m * (float)mn);
      return;
    }
    case PK_Q6_K:
      for (int i = 0; i < 2; i++) scale[i] = d * (float)(int8_t)small[(2 * j + i) * 16 + lane];
      return;
    case PK_Q2_K:
      for (int i = 0; i < 2; i++) {
        uint8_t both = small[(2 * j + i) * 16 + lane];
        scale[i] = d * (float)(both & 15);
        minimum[i] = -(m * (float)(both >> 4));
      }
      return;
    case PK_Q3_K:
      for (int h = 0; h < 2; h++) {
        int i = 2 * j + h;
        uint32_t low = words[i >> 2 & 1] >> (8 * (i & 3) + 4 * (i >> 3)) & 15;
        uint32_t high = words[2] >> (8 * (i & 3) + 2 * (i >> 2)) & 3;
        scale[h] = d * (float)((int)(low | high << 4) - 32);
      }
      return;
    case PK_IQ4_XS: {
      uint32_t low = words[0] >> (4 * j) & 15, high = pk_u16(small + 64 + lane * 2) >> (2 * j) & 3;
      scale[0] = scale[1] = d * (float)((int)(low | high << 4) - 32);
      return;
    }
    default:
      return;
  }
}

void pk_unpack_row(int32_t form, int32_t columns, const void* packed, int32_t row, float* out) {
  struct pk_form_layout l;
  if (!pk_holds(form, columns) || !pk_layout_of(form, &l)) return;
  const uint8_t* group = (const uint8_t*)packed + (size_t)(row / PK_GROUP) * pk_group_bytes(form, columns);
  int lane = row % PK_GROUP;
  if (l.block == 1) {
    size_t size = (size_t)l.deltas / PK_GROUP;
    for (size_t k = 0; k < (size_t)columns; k++)
      out[k] = pk_source_float(form, group + (k * PK_GROUP + (size_t)lane) * size, 0);
    return;
  }
  struct pk_planes p = pk_planes_of(&l, group, pk_blocks(columns));
  int iq4 = form == PK_IQ4_NL || form == PK_IQ4_XS;
  int minus = form == PK_Q4_0 ? 8 : form == PK_Q5_0 ? 16 : form == PK_Q6_K ? 32 : form == PK_Q3_K ? 4 : 0;
  for (int32_t k = 0; k < columns; k++) {
    float scale[2], minimum[2];
    if (k % 32 == 0) pk_row_scales(form, &l, &p, (size_t)k / 32, lane, scale, minimum);
    int second = k >> 4 & 1, code = pk_code(&l, &p, (size_t)k / 32, lane, k & 31) - minus;
    if (iq4) code = PK_IQ4[code];
    if (form == PK_MXFP4) code = PK_FP4[code];
    out[k] = l.deltas == 64 ? pk_fused((float)code, scale[second], minimum[second])
                            : (float)code * scale[second];
  }
}
