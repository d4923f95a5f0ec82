// Products of many rows by AMX: a tile of 16 rows times a block of 32 of a group is one
// instruction, which gives the block's exact integer sums. They are added up as in integers.h, so
// the bits are the same.
#ifndef PK_TILES_H
#define PK_TILES_H
#include "integers.h"

// Blocks of 32 and groups of a panel, tiles of 16 rows that meet it, and sums that are on their way
// from tiles to vectors: a tile's product takes 52 cycles, one can begin every 16.
enum { PK_AMX_BLOCKS = 32, PK_AMX_GROUPS = 8, PK_AMX_TILES = 16, PK_AMX_SLOTS = 4 };

// Rows for which tiles are worth it; fewer go by vectors.
enum { PK_AMX_LEAST = 12 };

// 16 rows of a block: values, scales, and (of the first and the last half) sums times scales.
struct pk_amx_rows {
  int8_t q[16][32];
  float scale[16], low[16], high[16];
};

struct pk_amx_scratch {
  struct pk_pblock panel[PK_AMX_GROUPS][PK_AMX_BLOCKS];
  struct pk_amx_rows rows[PK_AMX_TILES][PK_AMX_BLOCKS];
  int32_t sums[2 * PK_AMX_SLOTS][16][16];
};

// Tiles 0 to 3 are sums, 4 and 5 rows, 6 and 7 weights: of 32 values, or of two times 16.
static void pk_amx_open(int two) {
  struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } config = {.palette = 1};
  for (int t = 0; t < 8; t++) {
    config.bytes[t] = t < 4 || t >= 6 ? 64 : two ? 16 : 32;
    config.rows[t] = t >= 6 ? (two ? 4 : 8) : 16;
  }
  _tile_loadconfig(&config);
}

static void pk_amx_copy_rows(const struct pk_xblock* x, size_t stride, int R, size_t blocks, int two,
                             struct pk_amx_rows* to) {
  for (size_t block = 0; block < blocks; block++, to++) {
    for (int r = 0; r < 16; r++) {
      const struct pk_xblock* from = x + (size_t)r * stride + block;
      if (r >= R) {
        __builtin_memset(to->q[r], 0, 32);
        to->scale[r] = to->low[r] = to->high[r] = 0;
        continue;
      }
      __builtin_memcpy(to->q[r], from->q, 32);
      to->scale[r] = from->scale;
      to->low[r] = two ? from->sumLow : from->sum;
      to->high[r] = from->sumHigh;
    }
  }
}

#define PK_AMX_DOT(c, a, b, q, quads, sums) \
  do {                                      \
    _tile_zero(c);                          \
    _tile_loadd(a, q, 32);                  \
    _tile_loadd(b, quads, 64);              \
    _tile_dpbssd(c, a, b);                  \
    _tile_stored(c, sums, 64);              \
  } while (0)

// Begins a block's sums; `slot` is known when compiled.
static PK_INLINE void pk_amx_begin(int two, int slot, const struct pk_pblock* w, const struct pk_amx_rows* x,
                                   int32_t (*sums)[16][16]) {
  if (two) {
    if (slot & 1) {
      PK_AMX_DOT(2, 4, 6, x->q, w->quads, sums[0]);
      PK_AMX_DOT(3, 5, 7, x->q[0] + 16, w->quads[4], sums[1]);
    } else {
      PK_AMX_DOT(0, 4, 6, x->q, w->quads, sums[0]);
      PK_AMX_DOT(1, 5, 7, x->q[0] + 16, w->quads[4], sums[1]);
    }
    return;
  }
  if (slot == 0) PK_AMX_DOT(0, 4, 6, x->q, w->quads, sums[0]);
  if (slot == 1) PK_AMX_DOT(1, 5, 7, x->q, w->quads, sums[0]);
  if (slot == 2) PK_AMX_DOT(2, 4, 6, x->q, w->quads, sums[0]);
  if (slot == 3) PK_AMX_DOT(3, 5, 7, x->q, w->quads, sums[0]);
}

static PK_INLINE void pk_amx_add(int two, int minimum, const struct pk_pblock* w, const struct pk_amx_rows* x,
                                 int32_t (*sums)[16][16], vf* acc) {
  struct pk_wscale s;
  pk_panel_scales(w, PK_KIND(8, 31, two, minimum), 0, &s);
  PK_UNROLL for (int r = 0; r < 16; r++) {
    vf sum = vf_from(vi_load(sums[0][r]));
    if (two) sum = vf_fma(vf_from(vi_load(sums[1][r])), s.c1, vf_mul(sum, s.c0));
    acc[r] = vf_fma(sum, vf_mul(s.scale, vf_set1(x->scale[r])), acc[r]);
    if (minimum) acc[r] = vf_fma(s.min0, vf_set1(x->low[r]), acc[r]);
    if (minimum && two) acc[r] = vf_fma(s.min1, vf_set1(x->high[r]), acc[r]);
  }
}

// 16 rows times one group of a panel.
static PK_INLINE void pk_amx_tile(int two, int minimum, const struct pk_pblock* w, const struct pk_amx_rows* x,
                                  size_t blocks, int32_t (*sums)[16][16], int began, const float* bias,
                                  float* y, int64_t ldy) {
  enum { AHEAD = PK_AMX_SLOTS - 1 };
  // Slots lie close: loads from one must not look like stores to another, 4 KiB away.
  const size_t step = two ? 2 : 1;
  vf acc[16];
  PK_UNROLL for (int r = 0; r < 16; r++) acc[r] = began ? vf_load(y + r * ldy) : vf_zero();
  PK_UNROLL for (size_t i = 0; i < AHEAD; i++) {
    if (i < blocks) pk_amx_begin(two, (int)i, w + i, x + i, sums + i * step);
  }
  for (size_t block = 0; block < blocks; block += PK_AMX_SLOTS) {
    PK_UNROLL for (size_t i = 0; i < PK_AMX_SLOTS; i++) {
      if (block + i >= blocks) break;
      size_t next = block + i + AHEAD, slot = (i + AHEAD) % PK_AMX_SLOTS;
      if (next < blocks) pk_amx_begin(two, (int)slot, w + next, x + next, sums + slot * step);
      pk_amx_add(two, minimum, w + block + i, x + block + i, sums + i * step, acc);
    }
  }
  PK_UNROLL for (int r = 0; r < 16; r++) {
    if (bias) acc[r] = vf_add(acc[r], vf_load(bias));
    vf_store(y + r * ldy, acc[r]);
  }
}

typedef void (*pk_amx_function)(const struct pk_pblock*, const struct pk_amx_rows*, size_t, int32_t (*)[16][16],
                                int, const float*, float*, int64_t);
#define PK_DEFINE_AMX(two, minimum)                                                         \
  static void pk_amx_##two##minimum(const struct pk_pblock* w, const struct pk_amx_rows* x, \
                                    size_t blocks, int32_t (*sums)[16][16], int began,   \
                                    const float* bias, float* y, int64_t ldy) {             \
    pk_amx_tile(two, minimum, w, x, blocks, sums, began, bias, y, ldy);                     \
  }
PK_DEFINE_AMX(0, 0)
PK_DEFINE_AMX(0, 1)
PK_DEFINE_AMX(1, 0)
PK_DEFINE_AMX(1, 1)
static const pk_amx_function PK_AMX_FUNCTIONS[2][2] = {{pk_amx_00, pk_amx_01}, {pk_amx_10, pk_amx_11}};

// Rows fall into slices whose tiles fit a thread's memory.
static void pk_amx_slice(const struct pk_product* job, const struct pk_xblock* x, int32_t row0, int32_t rows,
                         int32_t group0, int32_t group1, struct pk_amx_scratch* scratch) {
  int32_t form = job->matrix->form;
  int kind = pk_kind_of(form);
  pk_panel_function decode = pk_signed_panel_of(form);
  pk_amx_function multiply = PK_AMX_FUNCTIONS[PK_TWO(kind)][PK_MINIMUM(kind)];
  for (size_t block = 0; block < job->blocks; block += PK_AMX_BLOCKS) {
    size_t left = job->blocks - block, count = left < PK_AMX_BLOCKS ? left : PK_AMX_BLOCKS;
    for (int32_t t = 0; t < rows; t += 16) {
      int32_t R = rows - t < 16 ? rows - t : 16;
      pk_amx_copy_rows(x + (size_t)(row0 + t) * job->blocks + block, job->blocks, R, count, PK_TWO(kind),
                       scratch->rows[t / 16]);
    }
    for (int32_t first = group0; first < group1; first += PK_AMX_GROUPS) {
      int32_t groups = group1 - first < PK_AMX_GROUPS ? group1 - first : PK_AMX_GROUPS;
      for (int32_t g = 0; g < groups; g++) {
        struct pk_planes p = pk_product_planes(job, first + g);
        decode(&p, block, count, scratch->panel[g]);
      }
      for (int32_t t = 0; t < rows; t += 16) {
        int32_t R = rows - t < 16 ? rows - t : 16;
        for (int32_t g = 0; g < groups; g++) {
          struct pk_target to;
          pk_open_target(job, &to, first + g, row0 + t, R, 16, block > 0, count == left);
          multiply(scratch->panel[g], scratch->rows[t / 16], count, scratch->sums, block > 0, to.bias,
                   to.y, to.ldy);
          pk_close_target(job, &to, first + g, row0 + t, R);
        }
      }
    }
  }
}

static void pk_amx_many(const struct pk_product* job, const struct pk_xblock* x, int32_t group0, int32_t group1,
                        struct pk_amx_scratch* scratch) {
  pk_amx_open(PK_TWO(pk_kind_of(job->matrix->form)));
  for (int32_t row = 0; row < job->rows; row += 16 * PK_AMX_TILES) {
    int32_t left = job->rows - row, rows = left < 16 * PK_AMX_TILES ? left : 16 * PK_AMX_TILES;
    pk_amx_slice(job, x, row, rows, group0, group1, scratch);
  }
  _tile_release();
}
#endif
