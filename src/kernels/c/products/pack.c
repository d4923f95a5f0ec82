// Packs rows of a model's file, and unpacks one. Every form's block becomes codes (unsigned
// integers in order of k) and small bytes; codes go to the planes of bits, the rest to its own
// planes.
#include "layout.h"

int32_t pk_holds(int32_t form, int32_t columns) {
  struct pk_form_layout l;
  if (columns < 1 || !pk_layout_of(form, &l)) return 0;
  return form >= PK_I4 || columns % l.block == 0;
}

int32_t pk_takes_int8(int32_t form) { return !pk_is_float(form); }

uint64_t pk_group_bytes(int32_t form, int32_t columns) {
  struct pk_form_layout l;
  if (!pk_holds(form, columns) || !pk_layout_of(form, &l)) return 0;
  uint64_t bytes;
  if (l.block == 1) {
    bytes = (uint64_t)columns * (uint64_t)l.deltas;
  } else {
    uint64_t blocks = pk_blocks(columns);
    bytes = blocks * (uint64_t)(l.bits4 + l.bits2 + l.bits1 + l.bits8) +
            blocks * 32 / (uint64_t)l.block * (uint64_t)(l.scales + l.deltas);
  }
  return (bytes + 63) & ~(uint64_t)63;
}

uint64_t pk_packed_bytes(int32_t form, int32_t rows, int32_t columns) {
  if (rows < 1) return 0;
  return ((uint64_t)rows + PK_GROUP - 1) / PK_GROUP * pk_group_bytes(form, columns);
}

static PK_INLINE void pk_put2(uint8_t* at, uint16_t value) { __builtin_memcpy(at, &value, 2); }
static PK_INLINE void pk_put4(uint8_t* at, uint32_t value) { __builtin_memcpy(at, &value, 4); }

// 32 codes of one column into the planes of bits.
static void pk_put_codes(const struct pk_form_layout* l, const struct pk_planes* p, size_t block, int lane,
                         const uint8_t* codes) {
  uint8_t* bits4 = (uint8_t*)p->bits4 + block * 256 + lane * 4;
  uint8_t* bits2 = (uint8_t*)p->bits2 + block * 128 + lane * 4;
  uint8_t* bits1 = (uint8_t*)p->bits1 + block * 64 + lane * 4;
  uint8_t* bits8 = (uint8_t*)p->bits8 + block * 512 + lane * 4;
  int low = l->bits4 ? 4 : 2;  // bits that the first plane takes
  if (l->bits8) {
    for (int quad = 0; quad < 8; quad++) pk_put4(bits8 + quad * 64, pk_u32(codes + quad * 4));
    return;
  }
  if (l->bits4) {
    for (int v = 0; v < 4; v++) {
      uint32_t a = pk_u32(codes + v * 8) & 0x0f0f0f0f, b = pk_u32(codes + v * 8 + 4) & 0x0f0f0f0f;
      pk_put4(bits4 + v * 64, a | b << 4);
    }
  }
  if (l->bits2) {
    for (int v = 0; v < 2; v++) {
      uint32_t word = 0;
      for (int i = 0; i < 4; i++) {
        uint32_t quad = pk_u32(codes + v * 16 + i * 4);
        word |= ((l->bits4 ? quad >> 4 : quad) & 0x03030303) << (2 * i);
      }
      pk_put4(bits2 + v * 64, word);
    }
    low = l->bits4 ? 6 : 2;
  }
  if (l->bits1) {
    uint32_t word = 0;
    for (int i = 0; i < 8; i++) word |= (pk_u32(codes + i * 4) >> low & 0x01010101) << i;
    pk_put4(bits1, word);
  }
}

// 16 bytes with codes 0 to 15 in the low halves and 16 to 31 in the high ones.
static PK_INLINE void pk_halves(const uint8_t* from, uint8_t* codes) {
  for (int i = 0; i < 16; i++) {
    codes[i] = from[i] & 15;
    codes[16 + i] = from[i] >> 4;
  }
}
static PK_INLINE void pk_fifths(uint32_t bits, uint8_t* codes) {
  for (int i = 0; i < 32; i++) codes[i] |= (uint8_t)((bits >> i & 1) << 4);
}
static PK_INLINE void pk_put_delta(const struct pk_planes* p, size_t at, int size, int lane, int which,
                                   uint16_t half) {
  pk_put2((uint8_t*)p->deltas + at * (size_t)size + which * 32 + lane * 2, half);
}

// One block of 32. Returns 0 where a scale is not finite.
static int pk_put_block(int32_t form, const struct pk_form_layout* l, const struct pk_planes* p, size_t block,
                        int lane, const uint8_t* from) {
  uint8_t codes[32];
  int minimum = l->deltas == 64;
  if (form == PK_MXFP4) {
    if (from[0] == 255) return 0;
    ((uint8_t*)p->scales)[block * 16 + (size_t)lane] = from[0];
    pk_halves(from + 1, codes);
    pk_put_codes(l, p, block, lane, codes);
    return 1;
  }
  for (int i = 0; i <= minimum; i++) {
    uint16_t half = pk_u16(from + 2 * i);
    if (!pk_half_finite(half)) return 0;
    pk_put_delta(p, block, l->deltas, lane, i, half);
  }
  from += minimum ? 4 : 2;
  if (l->bits8) {
    pk_put_codes(l, p, block, lane, from);
    return 1;
  }
  pk_halves(from + (l->bits1 ? 4 : 0), codes);
  if (l->bits1) pk_fifths(pk_u32(from), codes);
  pk_put_codes(l, p, block, lane, codes);
  return 1;
}

// Codes of a block of 256 in order of k.
static void pk_super_codes(int32_t form, const uint8_t* from, uint8_t* codes) {
  switch (form) {
    case PK_Q2_K:
      for (int i = 0; i < 256; i++)
        codes[i] = from[16 + 32 * (i >> 7) + (i & 31)] >> (2 * (i >> 5 & 3)) & 3;
      return;
    case PK_Q3_K:
      for (int i = 0; i < 256; i++) {
        int low = from[32 + 32 * (i >> 7) + (i & 31)] >> (2 * (i >> 5 & 3)) & 3;
        codes[i] = (uint8_t)(low | (from[i & 31] >> (i >> 5) & 1) << 2);
      }
      return;
    case PK_Q4_K:
    case PK_Q5_K: {
      const uint8_t* nibbles = from + (form == PK_Q5_K ? 48 : 16);
      for (int i = 0; i < 256; i++) {
        int low = nibbles[32 * (i >> 6) + (i & 31)] >> (4 * (i >> 5 & 1)) & 15;
        int fifth = form == PK_Q5_K ? from[16 + (i & 31)] >> (i >> 5) & 1 : 0;
        codes[i] = (uint8_t)(low | fifth << 4);
      }
      return;
    }
    case PK_Q6_K:
      for (int i = 0; i < 256; i++) {
        int run = i >> 5 & 3, half = i >> 7;
        int low = from[64 * half + 32 * (run & 1) + (i & 31)] >> (4 * (run >> 1)) & 15;
        int high = from[128 + 32 * half + (i & 31)] >> (2 * run) & 3;
        codes[i] = (uint8_t)(low | high << 4);
      }
      return;
    default:  // PK_IQ4_XS
      for (int block = 0; block < 8; block++) pk_halves(from + 8 + 16 * block, codes + 32 * block);
  }
}

// One block of 256: its codes, its small scales in the file's own bits, its float16 scales.
static int pk_put_super(int32_t form, const struct pk_form_layout* l, const struct pk_planes* p, size_t super,
                        int lane, const uint8_t* from) {
  uint8_t codes[256];
  uint8_t* scales = (uint8_t*)p->scales + super * (size_t)l->scales;
  int delta = form == PK_Q2_K ? 80 : form == PK_Q3_K ? 108 : form == PK_Q6_K ? 208 : 0;
  for (int i = 0; i <= (l->deltas == 64); i++) {
    uint16_t half = pk_u16(from + delta + 2 * i);
    if (!pk_half_finite(half)) return 0;
    pk_put_delta(p, super, l->deltas, lane, i, half);
  }
  if (form == PK_IQ4_XS) {
    pk_put4(scales + lane * 4, pk_u32(from + 4));
    pk_put2(scales + 64 + lane * 2, pk_u16(from + 2));
  } else if (l->scales == 256) {
    const uint8_t* at = from + (form == PK_Q6_K ? 192 : 0);
    for (int i = 0; i < 16; i++) scales[i * 16 + lane] = at[i];
  } else {
    const uint8_t* at = from + (form == PK_Q3_K ? 96 : 4);
    for (int i = 0; i < 3; i++) pk_put4(scales + i * 64 + lane * 4, pk_u32(at + 4 * i));
  }
  pk_super_codes(form, from, codes);
  for (int i = 0; i < 8; i++) pk_put_codes(l, p, super * 8 + (size_t)i, lane, codes + 32 * i);
  return 1;
}

static float pk_source_float(int32_t form, const uint8_t* from, size_t k) {
  if (form == PK_F32) return pk_float(pk_u32(from + 4 * k));
  uint16_t bits = pk_u16(from + 2 * k);
  if (form == PK_BF16) return pk_bfloat(bits);
  return pk_half_finite(bits) ? pk_half(bits) : pk_float(0x7fc00000);
}

static int pk_put_float_row(int32_t form, int32_t columns, int32_t sourceForm, const uint8_t* from, int lane,
                            uint8_t* group) {
  for (size_t k = 0; k < (size_t)columns; k++) {
    float value = pk_source_float(sourceForm, from, k);
    if (!pk_finite(value)) return 0;
    if (form == PK_F32) {
      pk_put4(group + k * 64 + lane * 4, pk_bits(value));
      continue;
    }
    uint16_t half = form == sourceForm ? pk_u16(from + 2 * k)
                    : form == PK_F16   ? pk_nearest_half(value)
                                       : pk_nearest_bfloat(value);
    if (!pk_finite(form == PK_BF16 ? pk_bfloat(half) : 0) || (form == PK_F16 && !pk_half_finite(half))) return 0;
    pk_put2(group + k * 32 + lane * 2, half);
  }
  return 1;
}

#include "round.h"

static int pk_put_rounded_row(int32_t form, const struct pk_form_layout* l, int32_t columns, int32_t sourceForm,
                              const uint8_t* from, const struct pk_planes* p, int lane) {
  for (int32_t k = 0; k < columns; k += 32) {
    float values[32];
    uint8_t block[34];
    for (int i = 0; i < 32; i++) {
      values[i] = k + i < columns ? pk_source_float(sourceForm, from, (size_t)(k + i)) : 0;
      if (!pk_finite(values[i])) return 0;
    }
    if (form == PK_I4) pk_round4(values, block);
    else pk_round8(values, block);
    if (!pk_put_block(form, l, p, (size_t)k / 32, lane, block)) return 0;
  }
  return 1;
}

static void pk_clear(uint8_t* at, uint64_t bytes) {
  for (uint64_t i = 0; i < bytes; i += 8) __builtin_memset(at + i, 0, 8);
}

int32_t pk_pack(int32_t form, int32_t columns, int32_t sourceForm, const void* source, int32_t first,
                int32_t count, void* packed) {
  struct pk_form_layout l, s;
  if (!pk_holds(form, columns) || !pk_layout_of(form, &l) || !pk_layout_of(sourceForm, &s)) return -2;
  int rounds = pk_is_float(form) || form >= PK_I4;
  if (rounds ? !pk_is_float(sourceForm) : form != sourceForm) return -2;
  size_t blocks = pk_blocks(columns), rowBytes = (size_t)columns / (size_t)s.block * (size_t)s.source;
  uint64_t groupBytes = pk_group_bytes(form, columns);
  for (int32_t row = 0; row < count; row++) {
    const uint8_t* from = (const uint8_t*)source + (size_t)row * rowBytes;
    int lane = (first + row) % PK_GROUP, fine = 1;
    uint8_t* group = (uint8_t*)packed + (size_t)((first + row) / PK_GROUP) * groupBytes;
    if (lane == 0) pk_clear(group, groupBytes);
    struct pk_planes p = pk_planes_of(&l, group, blocks);
    if (l.block == 1) {
      fine = pk_put_float_row(form, columns, sourceForm, from, lane, group);
    } else if (form >= PK_I4) {
      fine = pk_put_rounded_row(form, &l, columns, sourceForm, from, &p, lane);
    } else if (l.block == 32) {
      for (size_t b = 0; b < blocks && fine; b++, from += l.source)
        fine = pk_put_block(form, &l, &p, b, lane, from);
    } else {
      for (size_t b = 0; b < blocks / 8 && fine; b++, from += l.source)
        fine = pk_put_super(form, &l, &p, b, lane, from);
    }
    if (!fine) return row;
  }
  return -1;
}

#include "unpack.h"
