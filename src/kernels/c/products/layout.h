// Where the bits of a packed group lie. A group holds 16 rows of weights ("columns" of the
// product's vectors), and its bytes are planes, one after the other, each of all blocks of 32 in
// order:
//   bits4, bits2, bits1, bits8   the weights' integers, 4, 2, 1 or 8 bits of each
//   scales                       small scales, and minimums
//   deltas                       float16 scales and minimums
// A quad is 4 consecutive k of a column. In planes of integers each of the 16 columns has 4 bytes
// of a vector of 64, one byte for each k of a quad. Byte j of column c, in the planes' vector v:
//   bits8  quad v                          bits4  quad 2v in the low half, 2v + 1 in the high one
//   bits2  quads 4v to 4v + 3 from the low bits up       bits1  quads 8v to 8v + 7 likewise
// Float forms are (k, 16).
#ifndef PK_LAYOUT_H
#define PK_LAYOUT_H
#include "forms.h"
#include "kinds.h"

// Bytes that 16 rows have in each plane: of a block of 32, or (super) of 256.
struct pk_form_layout {
  int16_t block;                      // values that share what is stored: 1, 32 or 256
  int16_t bits4, bits2, bits1, bits8; // of 32
  int16_t scales, deltas;             // of `block`
  int16_t source;                     // bytes of a block in a file
};

static inline int pk_layout_of(int32_t form, struct pk_form_layout* l) {
  static const struct { int16_t form; struct pk_form_layout layout; } table[] = {
    {PK_F32, {1, 0, 0, 0, 0, 0, 64, 4}},
    {PK_F16, {1, 0, 0, 0, 0, 0, 32, 2}},
    {PK_BF16, {1, 0, 0, 0, 0, 0, 32, 2}},
    {PK_Q4_0, {32, 256, 0, 0, 0, 0, 32, 18}},
    {PK_Q4_1, {32, 256, 0, 0, 0, 0, 64, 20}},
    {PK_Q5_0, {32, 256, 0, 64, 0, 0, 32, 22}},
    {PK_Q5_1, {32, 256, 0, 64, 0, 0, 64, 24}},
    {PK_Q8_0, {32, 0, 0, 0, 512, 0, 32, 34}},
    {PK_Q2_K, {256, 0, 128, 0, 0, 256, 64, 84}},
    {PK_Q3_K, {256, 0, 128, 64, 0, 192, 32, 110}},
    {PK_Q4_K, {256, 256, 0, 0, 0, 192, 64, 144}},
    {PK_Q5_K, {256, 256, 0, 64, 0, 192, 64, 176}},
    {PK_Q6_K, {256, 256, 128, 0, 0, 256, 32, 210}},
    {PK_IQ4_NL, {32, 256, 0, 0, 0, 0, 32, 18}},
    {PK_IQ4_XS, {256, 256, 0, 0, 0, 96, 32, 136}},
    {PK_MXFP4, {32, 256, 0, 0, 0, 16, 0, 17}},
    {PK_I4, {32, 256, 0, 0, 0, 0, 64, 20}},
    {PK_I8, {32, 0, 0, 0, 512, 0, 32, 34}},
  };
  for (unsigned i = 0; i < sizeof table / sizeof table[0]; i++) {
    if (table[i].form != form) continue;
    *l = table[i].layout;
    return 1;
  }
  return 0;
}

static inline int pk_is_float(int32_t form) {
  return form == PK_F32 || form == PK_F16 || form == PK_BF16;
}

// Blocks of 32 in a row, the last one filled up with zeros where a form rounds floats.
static PK_INLINE size_t pk_blocks(int32_t columns) { return ((size_t)columns + 31) / 32; }

struct pk_planes {
  const uint8_t *bits4, *bits2, *bits1, *bits8, *scales, *deltas;
  size_t ahead;  // bytes from a vector of integers to what is asked for before it is needed
};

// Bytes that are asked for before they are needed: hardware reads ahead by itself, but begins anew
// at each page, and with this a row reaches 1.15 times as much of the memory's speed.
enum { PK_AHEAD = 1024 };

// Planes of the group that begins at `group`; `blocks` of 32. Not for float forms.
static inline struct pk_planes pk_planes_of(const struct pk_form_layout* l, const void* group, size_t blocks) {
  struct pk_planes p;
  p.bits4 = group;
  p.bits2 = p.bits4 + blocks * (size_t)l->bits4;
  p.bits1 = p.bits2 + blocks * (size_t)l->bits2;
  p.bits8 = p.bits1 + blocks * (size_t)l->bits1;
  p.scales = p.bits8 + blocks * (size_t)l->bits8;
  p.deltas = p.scales + blocks * 32 / (size_t)l->block * (size_t)l->scales;
  p.ahead = PK_AHEAD;
  return p;
}

// What 4-bit codes stand for: IQ4_NL and IQ4_XS, and MXFP4 (twice its value).
static const int8_t PK_IQ4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t PK_FP4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
// The same as they are without a sign: + 128 and + 16.
static const uint8_t PK_IQ4_UNSIGNED[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                            129, 141, 153, 166, 181, 197, 217, 241};
static const uint8_t PK_FP4_UNSIGNED[16] = {16, 17, 18, 19, 20, 22, 24, 28,
                                            16, 15, 14, 13, 12, 10, 8,  4};

// Half of 2 to the power (e - 127): the scale of MXFP4's codes. Not for 255, which is no number.
static PK_INLINE float pk_e8m0(uint8_t e) {
  return pk_float(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

#endif
