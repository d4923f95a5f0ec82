// Packed blocks as vectors: for each form `FORM_quad` (four weights of each column, as the dot of
// its kind wants them) and `FORM_scales`. `block` counts blocks of 32; `part` is the vector within
// the 16 columns.
#ifndef PK_DECODE_H
#define PK_DECODE_H
#include "layout.h"

#define PK_AT(part) ((part) * 4 * PK_W)

static PK_INLINE void pk_read_ahead(const struct pk_planes* p, const uint8_t* at, int part) {
  if (part == 0) pk_prefetch(at + p->ahead);
}

static PK_INLINE vi pk_nibble(const struct pk_planes* p, size_t block, int quad, int part) {
  const uint8_t* at = p->bits4 + block * 256 + (quad >> 1) * 64 + PK_AT(part);
  if (!(quad & 1)) pk_read_ahead(p, at, part);
  vi pair = vi_load(at);
  return vi_and(quad & 1 ? vi_sr(pair, 4) : pair, vi_bytes1(15));
}
// Bits of the plane bits2 as bits `to` and to + 1.
static PK_INLINE vi pk_two_bits(const struct pk_planes* p, size_t block, int quad, int part, int to) {
  const uint8_t* at = p->bits2 + block * 128 + (quad >> 2) * 64 + PK_AT(part);
  if (!(quad & 3)) pk_read_ahead(p, at, part);
  vi four = vi_load(at);
  int from = 2 * (quad & 3);
  vi moved = from > to ? vi_sr(four, from - to) : from < to ? vi_sl(four, to - from) : four;
  return vi_and(moved, vi_bytes1(3 << to));
}
// The bit of the plane bits1 as bit `to`.
static PK_INLINE vi pk_one_bit(const struct pk_planes* p, size_t block, int quad, int part, int to) {
  vi eight = vi_load(p->bits1 + block * 64 + PK_AT(part));
  vi moved = quad > to ? vi_sr(eight, quad - to) : quad < to ? vi_sl(eight, to - quad) : eight;
  return vi_and(moved, vi_bytes1(1 << to));
}
static PK_INLINE vf pk_delta(const uint8_t* at, int part) { return vf_half(at + part * 2 * PK_W); }
static PK_INLINE vi pk_word(const uint8_t* at, int word, int part) {
  return vi_load(at + word * 64 + PK_AT(part));
}

#define PK_QUAD(form) \
  static PK_INLINE vi form##_quad(const struct pk_planes* p, size_t block, int quad, int part)
#define PK_SCALES(form) \
  static PK_INLINE void form##_scales(const struct pk_planes* p, size_t block, int part, struct pk_wscale* s)

// One float16 scale for 32, without and with a minimum.
#define PK_SCALES_0(form) \
  PK_SCALES(form) { s->scale = pk_delta(p->deltas + block * 32, part); }
#define PK_SCALES_1(form)                                   \
  PK_SCALES(form) {                                         \
    s->scale = pk_delta(p->deltas + block * 64, part);      \
    s->min0 = pk_delta(p->deltas + block * 64 + 32, part);  \
  }

#define PK_KIND_Q4_0 PK_KIND(4, 3, 0, 0)
PK_QUAD(Q4_0) { return pk_nibble(p, block, quad, part); }
PK_SCALES_0(Q4_0)

#define PK_KIND_Q4_1 PK_KIND(4, 31, 0, 1)
PK_QUAD(Q4_1) { return pk_nibble(p, block, quad, part); }
PK_SCALES_1(Q4_1)

#define PK_KIND_Q5_0 PK_KIND(5, 4, 0, 0)
PK_QUAD(Q5_0) { return vi_or(pk_nibble(p, block, quad, part), pk_one_bit(p, block, quad, part, 4)); }
PK_SCALES_0(Q5_0)

#define PK_KIND_Q5_1 PK_KIND(5, 31, 0, 1)
PK_QUAD(Q5_1) { return Q5_0_quad(p, block, quad, part); }
PK_SCALES_1(Q5_1)

// Signed bytes; where a dot needs them unsigned, 128 is added here and subtracted by the kind.
#if PK_SIGNED8
#define PK_KIND_8 PK_KIND(8, 31, 0, 0)
#define PK_IQ4_TABLE PK_IQ4
#else
#define PK_KIND_8 PK_KIND(8, 7, 0, 0)
#define PK_IQ4_TABLE PK_IQ4_UNSIGNED
#endif

#define PK_KIND_Q8_0 PK_KIND_8
PK_QUAD(Q8_0) {
  const uint8_t* at = p->bits8 + block * 512 + quad * 64 + PK_AT(part);
  pk_read_ahead(p, at, part);
  vi a = vi_load(at);
  return PK_SIGNED8 ? a : vi_xor(a, vi_bytes1(0x80));
}
PK_SCALES_0(Q8_0)

#define PK_KIND_IQ4_NL PK_KIND_8
PK_QUAD(IQ4_NL) { return vi_lookup(PK_IQ4_TABLE, pk_nibble(p, block, quad, part)); }
PK_SCALES_0(IQ4_NL)

#define PK_KIND_MXFP4 PK_KIND(5, 4, 0, 0)
PK_QUAD(MXFP4) { return vi_lookup(PK_FP4_UNSIGNED, pk_nibble(p, block, quad, part)); }
PK_SCALES(MXFP4) {
  // 2 to the power (e - 128) as a product, since a float's exponent does not reach down to it.
  vi e = vi_u8(p->scales + block * 16 + (size_t)(part * PK_W));
  vi half = vi_sr(e, 1), rest = vi_sr(vi_add(e, vi_set1(1)), 1);
  s->scale = vf_mul(vf_bits(vi_sl(vi_add(half, vi_set1(63)), 23)),
                    vf_bits(vi_sl(vi_add(rest, vi_set1(63)), 23)));
}

// Six bits of a scale and of a minimum for each 32 of 256, in the three words of a file's block.
static PK_INLINE void pk_scales_k(const struct pk_planes* p, size_t block, int part, struct pk_wscale* s) {
  const uint8_t *words = p->scales + (block >> 3) * 192, *deltas = p->deltas + (block >> 3) * 64;
  int j = (int)(block & 7);
  vi a = pk_word(words, 0, part), b = pk_word(words, 1, part), scale, minimum;
  if (j < 4) {
    scale = vi_and(vi_sr(a, 8 * j), vi_set1(63));
    minimum = vi_and(vi_sr(b, 8 * j), vi_set1(63));
  } else {
    vi c = vi_sr(pk_word(words, 2, part), 8 * (j - 4));
    vi high = vi_set1(48);
    scale = vi_or(vi_and(c, vi_set1(15)), vi_and(vi_sr(a, 8 * (j - 4) + 2), high));
    minimum = vi_or(vi_and(vi_sr(c, 4), vi_set1(15)), vi_and(vi_sr(b, 8 * (j - 4) + 2), high));
  }
  s->scale = vf_mul(vf_from(scale), pk_delta(deltas, part));
  s->min0 = vf_neg(vf_mul(vf_from(minimum), pk_delta(deltas + 32, part)));
}

#define PK_KIND_Q4_K PK_KIND(4, 31, 0, 1)
PK_QUAD(Q4_K) { return pk_nibble(p, block, quad, part); }
PK_SCALES(Q4_K) { pk_scales_k(p, block, part, s); }

#define PK_KIND_Q5_K PK_KIND(5, 31, 0, 1)
PK_QUAD(Q5_K) { return Q5_0_quad(p, block, quad, part); }
PK_SCALES(Q5_K) { pk_scales_k(p, block, part, s); }

#define PK_KIND_Q6_K PK_KIND(6, 5, 1, 0)
PK_QUAD(Q6_K) { return vi_or(pk_nibble(p, block, quad, part), pk_two_bits(p, block, quad, part, 4)); }
PK_SCALES(Q6_K) {
  const uint8_t* at = p->scales + block * 32 + part * PK_W;
  s->c0 = vc_from(vi_s8(at));
  s->c1 = vc_from(vi_s8(at + 16));
  s->scale = pk_delta(p->deltas + (block >> 3) * 32, part);
}

#define PK_KIND_Q2_K PK_KIND(2, 31, 1, 1)
PK_QUAD(Q2_K) { return pk_two_bits(p, block, quad, part, 0); }
PK_SCALES(Q2_K) {
  const uint8_t *at = p->scales + block * 32 + part * PK_W, *deltas = p->deltas + (block >> 3) * 64;
  vi low = vi_u8(at), high = vi_u8(at + 16);
  s->c0 = vc_from(vi_and(low, vi_set1(15)));
  s->c1 = vc_from(vi_and(high, vi_set1(15)));
  s->scale = pk_delta(deltas, part);
  vf minimum = vf_neg(pk_delta(deltas + 32, part));
  s->min0 = vf_mul(vf_from(vi_sr(low, 4)), minimum);
  s->min1 = vf_mul(vf_from(vi_sr(high, 4)), minimum);
}

// Scales of 6 bits less 32 for each 16 of 256: low halves in words 0 and 1, high bits in word 2.
static PK_INLINE vi pk_scale_q3(const uint8_t* words, int i, int part) {
  vi low = vi_sr(pk_word(words, i >> 2 & 1, part), 8 * (i & 3) + 4 * (i >> 3));
  vi high = vi_sr(pk_word(words, 2, part), 8 * (i & 3) + 2 * (i >> 2));
  vi six = vi_or(vi_and(low, vi_set1(15)), vi_sl(vi_and(high, vi_set1(3)), 4));
  return vi_add(six, vi_set1(-32));
}
#define PK_KIND_Q3_K PK_KIND(3, 2, 1, 0)
PK_QUAD(Q3_K) {
  return vi_or(pk_two_bits(p, block, quad, part, 0), pk_one_bit(p, block, quad, part, 2));
}
PK_SCALES(Q3_K) {
  const uint8_t* words = p->scales + (block >> 3) * 192;
  int j = (int)(block & 7);
  s->c0 = vc_from(pk_scale_q3(words, 2 * j, part));
  s->c1 = vc_from(pk_scale_q3(words, 2 * j + 1, part));
  s->scale = pk_delta(p->deltas + (block >> 3) * 32, part);
}

// Scales of 6 bits less 32 for each 32 of 256: a word of low halves, and 16 bits of high ones.
#define PK_KIND_IQ4_XS PK_KIND_8
PK_QUAD(IQ4_XS) { return IQ4_NL_quad(p, block, quad, part); }
PK_SCALES(IQ4_XS) {
  const uint8_t* at = p->scales + (block >> 3) * 96;
  int j = (int)(block & 7);
  vi low = vi_and(vi_sr(pk_word(at, 0, part), 4 * j), vi_set1(15));
  vi high = vi_and(vi_sr(vi_u16(at + 64 + part * 2 * PK_W), 2 * j), vi_set1(3));
  vi scale = vi_add(vi_or(low, vi_sl(high, 4)), vi_set1(-32));
  s->scale = vf_mul(vf_from(scale), pk_delta(p->deltas + (block >> 3) * 32, part));
}

#define PK_KIND_I4 PK_KIND_Q4_1
PK_QUAD(I4) { return Q4_1_quad(p, block, quad, part); }
PK_SCALES(I4) { Q4_1_scales(p, block, part, s); }
#define PK_KIND_I8 PK_KIND_8
PK_QUAD(I8) { return Q8_0_quad(p, block, quad, part); }
PK_SCALES(I8) { Q8_0_scales(p, block, part, s); }

#define PK_EACH_INTEGER_FORM(DO)                                                              \
  DO(Q4_0) DO(Q4_1) DO(Q5_0) DO(Q5_1) DO(Q8_0) DO(Q2_K) DO(Q3_K) DO(Q4_K) DO(Q5_K) DO(Q6_K) \
  DO(IQ4_NL) DO(IQ4_XS) DO(MXFP4) DO(I4) DO(I8)

#endif
