// Products of rows rounded to int8 with blocks of integers: one row straight from the packed bits,
// more rows by tiles over panels. Both add the same numbers in the same order.
#ifndef PK_INTEGERS_H
#define PK_INTEGERS_H
#include "panel.h"

#define PK_PARTS (16 / PK_W)

// One row's block: acc = fma(dot, scale * row's scale, acc), then the minimums times the row's
// sums.
static PK_INLINE vf pk_add_block(const vdot* d, int kind, const struct pk_xblock* x,
                                 const struct pk_wscale* s, vf acc) {
  acc = vf_fma(dot_result(d, kind, x, s), vf_mul(s->scale, vf_set1(x->scale)), acc);
  if (!PK_MINIMUM(kind)) return acc;
  if (!PK_TWO(kind)) return vf_fma(s->min0, vf_set1(x->sum), acc);
  return vf_fma(s->min1, vf_set1(x->sumHigh), vf_fma(s->min0, vf_set1(x->sumLow), acc));
}

// Groups that a row is multiplied with at a time: hardware follows several streams of memory and
// reads ahead in each, 1.4 times as fast as in one.
enum { PK_ROW_GROUPS = 4 };

// One row times blocks [block, end) of some groups; `sums` hold what was summed before.
#define PK_DEFINE_ROW(form)                                                                       \
  static void form##_row(const struct pk_planes* planes, int groups, const struct pk_xblock* x,   \
                         size_t block, size_t end, vf (*sums)[PK_PARTS]) {                        \
    for (x += block; block < end; block++, x++) {                                                 \
      for (int g = 0; g < groups; g++) {                                                          \
        PK_UNROLL for (int part = 0; part < PK_PARTS; part++) {                                   \
          struct pk_wscale s;                                                                     \
          vdot d;                                                                                 \
          form##_scales(planes + g, block, part, &s);                                             \
          dot_start(&d, PK_KIND_##form, x);                                                       \
          PK_UNROLL for (int quad = 0; quad < 8; quad++) {                                        \
            vq w = vq_from(PK_KIND_##form, form##_quad(planes + g, block, quad, part));           \
            dot_quad(&d, PK_KIND_##form, w, x->q, quad, &s);                                      \
          }                                                                                       \
          sums[g][part] = pk_add_block(&d, PK_KIND_##form, x, &s, sums[g][part]);                 \
        }                                                                                         \
      }                                                                                           \
    }                                                                                             \
  }
PK_EACH_INTEGER_FORM(PK_DEFINE_ROW)

// Dots of R rows with a block of a panel.
static PK_INLINE void pk_dots(vdot* d, int kind, int R, const struct pk_pblock* w, int part,
                              const struct pk_xblock* x, const struct pk_wscale* s) {
#ifdef __ARM_FEATURE_MATMUL_INT8
  if (R > 1) {
    dot_pairs(d, kind, R, w->quads[0] + PK_AT(part), x);
    return;
  }
#endif
  PK_UNROLL for (int quad = 0; quad < 8; quad++) {
    vq four = vq_from(kind, vi_load(w->quads[quad] + PK_AT(part)));
    PK_UNROLL for (int r = 0; r < R; r++) dot_quad(&d[r], kind, four, x[r].q, quad, s);
  }
}

// `R` rows times one group of a panel, `blocks` of it. A tile's block is R blocks of rows. What has
// been summed of earlier panels is in y.
static PK_INLINE void pk_tile(int kind, int R, const struct pk_pblock* panel, const struct pk_xblock* tile,
                              size_t blocks, int began, const float* bias, float* y, int64_t ldy) {
  for (int part = 0; part < PK_PARTS; part++) {
    vf acc[PK_ROWS];
    PK_UNROLL for (int r = 0; r < R; r++)
      acc[r] = began ? vf_load(y + r * ldy + part * PK_W) : vf_zero();
    const struct pk_xblock* x = tile;
    for (size_t block = 0; block < blocks; block++, x += R) {
      struct pk_wscale s;
      vdot d[PK_ROWS];
      pk_panel_scales(panel + block, kind, part, &s);
      PK_UNROLL for (int r = 0; r < R; r++) dot_start(&d[r], kind, x + r);
      pk_dots(d, kind, R, panel + block, part, x, &s);
      PK_UNROLL for (int r = 0; r < R; r++) acc[r] = pk_add_block(&d[r], kind, x + r, &s, acc[r]);
    }
    PK_UNROLL for (int r = 0; r < R; r++) {
      if (bias) acc[r] = vf_add(acc[r], vf_load(bias + part * PK_W));
      vf_store(y + r * ldy + part * PK_W, acc[r]);
    }
  }
}

typedef void (*pk_tile_function)(const struct pk_pblock*, const struct pk_xblock*, size_t, int, const float*,
                                 float*, int64_t);
#define PK_DEFINE_TILE(name, kind, R)                                                               \
  static void name##_##R(const struct pk_pblock* panel, const struct pk_xblock* tile, size_t blocks, \
                         int began, const float* bias, float* y, int64_t ldy) {                     \
    pk_tile(kind, R, panel, tile, blocks, began, bias, y, ldy);                                     \
  }
// Rows of tiles, from large to small: any number of rows is made of these.
#if PK_ROWS == 8
static const int PK_TILE_ROWS[] = {8, 4, 2, 1};
#define PK_DEFINE_TILES(name, kind)                                                         \
  PK_DEFINE_TILE(name, kind, 1) PK_DEFINE_TILE(name, kind, 2) PK_DEFINE_TILE(name, kind, 4) \
  PK_DEFINE_TILE(name, kind, 8)                                                             \
  static const pk_tile_function name[] = {name##_8, name##_4, name##_2, name##_1};
#else
static const int PK_TILE_ROWS[] = {4, 2, 1};
#define PK_DEFINE_TILES(name, kind)                                                         \
  PK_DEFINE_TILE(name, kind, 1) PK_DEFINE_TILE(name, kind, 2) PK_DEFINE_TILE(name, kind, 4) \
  static const pk_tile_function name[] = {name##_4, name##_2, name##_1};
#endif

// Kinds as tiles need them. Sums are shifted when a tile is copied, so a shift of 0 stands for all;
// only where two factors meet a pair of sums (AVX2) it is done later.
#if PK_BITS_MATTER
PK_DEFINE_TILES(pk_tiles_4, PK_KIND(4, 0, 0, 0))
PK_DEFINE_TILES(pk_tiles_4m, PK_KIND(4, 31, 0, 1))
PK_DEFINE_TILES(pk_tiles_5, PK_KIND(5, 0, 0, 0))
PK_DEFINE_TILES(pk_tiles_5m, PK_KIND(5, 31, 0, 1))
PK_DEFINE_TILES(pk_tiles_8, PK_KIND_8)
PK_DEFINE_TILES(pk_tiles_2m, PK_KIND_Q2_K)
PK_DEFINE_TILES(pk_tiles_3, PK_KIND_Q3_K)
PK_DEFINE_TILES(pk_tiles_6, PK_KIND_Q6_K)
#else
PK_DEFINE_TILES(pk_tiles_one, PK_KIND(8, 0, 0, 0))
PK_DEFINE_TILES(pk_tiles_one_min, PK_KIND(8, 31, 0, 1))
PK_DEFINE_TILES(pk_tiles_two, PK_KIND(8, 0, 1, 0))
PK_DEFINE_TILES(pk_tiles_two_min, PK_KIND(8, 31, 1, 1))
#endif

static const pk_tile_function* pk_tiles_of(int kind) {
#if PK_BITS_MATTER
  switch (PK_BITS(kind)) {
    case 2:
      return pk_tiles_2m;
    case 3:
      return pk_tiles_3;
    case 4:
      return PK_MINIMUM(kind) ? pk_tiles_4m : pk_tiles_4;
    case 5:
      return PK_MINIMUM(kind) ? pk_tiles_5m : pk_tiles_5;
    case 6:
      return pk_tiles_6;
    default:
      return pk_tiles_8;
  }
#else
  if (PK_TWO(kind)) return PK_MINIMUM(kind) ? pk_tiles_two_min : pk_tiles_two;
  return PK_MINIMUM(kind) ? pk_tiles_one_min : pk_tiles_one;
#endif
}

// Copies `blocks` blocks of R rows that are `stride` blocks apart, block by block, sums made ready.
static void pk_copy_tile(const struct pk_xblock* x, size_t stride, int R, size_t blocks, int kind,
                         struct pk_xblock* tile) {
  int factor = PK_HAS_OFFSET(kind) ? 1 << PK_SHIFT(kind) : 0;
  for (size_t block = 0; block < blocks; block++) {
    for (int r = 0; r < R; r++, tile++) {
      *tile = x[(size_t)r * stride + block];
      tile->minusSum *= factor;
      tile->minusLow *= factor;
      tile->minusHigh *= factor;
    }
#ifdef __ARM_FEATURE_MATMUL_INT8
    for (int r = 0; r + 1 < R; r += 2) pk_pair_rows(tile - R + r);
#endif
  }
}

typedef void (*pk_row_function)(const struct pk_planes*, int, const struct pk_xblock*, size_t, size_t,
                                vf (*)[PK_PARTS]);
static pk_row_function pk_row_of(int32_t form) {
#define PK_ROW_CASE(name) \
  case PK_##name:         \
    return name##_row;
  switch (form) {
    PK_EACH_INTEGER_FORM(PK_ROW_CASE)
    default:
      return 0;
  }
}

struct pk_integer_scratch {
  struct pk_pblock panel[PK_PANEL_GROUPS][PK_PANEL_BLOCKS];
  struct pk_xblock tile[PK_PANEL_BLOCKS * PK_ROWS];
};

// What a product is given, and where its parts begin.
struct pk_product {
  const struct pk_matrix* matrix;
  struct pk_form_layout layout;
  size_t blocks, groupBytes;
  float* y;
  int64_t ldy;
  int32_t rows;
};

static PK_INLINE struct pk_planes pk_product_planes(const struct pk_product* job, int32_t group) {
  const uint8_t* data = job->matrix->data;
  return pk_planes_of(&job->layout, data + (size_t)group * job->groupBytes, job->blocks);
}
static PK_INLINE int pk_product_width(const struct pk_product* job, int32_t group) {
  int32_t left = job->matrix->rows - group * PK_GROUP;
  return left < PK_GROUP ? left : PK_GROUP;
}

// Where R rows of a group's sums go: into y, or into memory of its own where the group has fewer
// than 16 columns, or the tile more than R rows. The bias comes with the last panel.
struct pk_target {
  float* y;
  int64_t ldy;
  const float* bias;
  float own[PK_MAX_ROWS][PK_GROUP], ownBias[PK_GROUP];
};

static void pk_open_target(const struct pk_product* job, struct pk_target* to, int32_t group, int32_t row, int R,
                           int tile, int began, int last) {
  int width = pk_product_width(job, group);
  float* y = job->y + row * job->ldy + group * PK_GROUP;
  const float* bias = last && job->matrix->bias ? job->matrix->bias + group * PK_GROUP : 0;
  to->y = y;
  to->ldy = job->ldy;
  to->bias = bias;
  if (width == PK_GROUP && R == tile) return;
  to->y = to->own[0];
  to->ldy = PK_GROUP;
  for (int r = 0; r < R; r++) {
    for (int i = 0; i < PK_GROUP; i++) to->own[r][i] = began && i < width ? y[r * job->ldy + i] : 0;
  }
  if (!bias) return;
  for (int i = 0; i < PK_GROUP; i++) to->ownBias[i] = i < width ? bias[i] : 0;
  to->bias = to->ownBias;
}

static void pk_close_target(const struct pk_product* job, const struct pk_target* to, int32_t group, int32_t row,
                            int R) {
  int width = pk_product_width(job, group);
  if (to->y != to->own[0]) return;
  float* y = job->y + row * job->ldy + group * PK_GROUP;
  for (int r = 0; r < R; r++) {
    for (int i = 0; i < width; i++) y[r * job->ldy + i] = to->own[r][i];
  }
}

// Sums of one row and some groups, plus bias, into y.
static void pk_write_sums(const struct pk_product* job, int32_t first, int groups, vf (*sums)[PK_PARTS]) {
  for (int g = 0; g < groups; g++) {
    struct pk_target to;
    pk_open_target(job, &to, first + g, 0, 1, 1, 0, 1);
    for (int part = 0; part < PK_PARTS; part++) {
      vf sum = sums[g][part];
      if (to.bias) sum = vf_add(sum, vf_load(to.bias + part * PK_W));
      vf_store(to.y + part * PK_W, sum);
    }
    pk_close_target(job, &to, first + g, 0, 1);
  }
}

static void pk_integers_one(const struct pk_product* job, const struct pk_xblock* x, int32_t group0, int32_t group1) {
  const struct pk_form_layout* l = &job->layout;
  pk_row_function row = pk_row_of(job->matrix->form);
  size_t bytes = (size_t)(l->bits4 ? l->bits4 : l->bits8 ? l->bits8 : l->bits2), ahead = PK_AHEAD / bytes;
  size_t last = job->blocks > ahead ? job->blocks - ahead : 0;
  for (int32_t first = group0; first < group1; first += PK_ROW_GROUPS) {
    struct pk_planes planes[PK_ROW_GROUPS];
    vf sums[PK_ROW_GROUPS][PK_PARTS];
    int groups = group1 - first < PK_ROW_GROUPS ? group1 - first : PK_ROW_GROUPS;
    for (int g = 0; g < groups; g++) {
      planes[g] = pk_product_planes(job, first + g);
      for (int part = 0; part < PK_PARTS; part++) sums[g][part] = vf_zero();
    }
    row(planes, groups, x, 0, last, sums);
    // What would be asked for next lies behind the integers. Wanted are those of the next groups,
    // and the scales that they begin with: 1.15 times as fast where rows have 576 weights.
    size_t next = (size_t)groups * job->groupBytes;
    for (int g = 0; g < groups; g++) {
      planes[g].ahead = PK_AHEAD + next - job->blocks * bytes;
      for (size_t at = 0; at < 128; at += 64) {
        pk_prefetch(planes[g].deltas + next + at);
        if (l->scales) pk_prefetch(planes[g].scales + next + at);
      }
    }
    row(planes, groups, x, last, job->blocks, sums);
    pk_write_sums(job, first, groups, sums);
  }
}

static void pk_integers_many(const struct pk_product* job, const struct pk_xblock* x, int32_t group0, int32_t group1,
                             struct pk_integer_scratch* scratch) {
  int32_t form = job->matrix->form;
  int kind = pk_kind_of(form);
  pk_panel_function decode = pk_panel_of(form);
  const pk_tile_function* tiles = pk_tiles_of(kind);
  for (int32_t first = group0; first < group1; first += PK_PANEL_GROUPS) {
    int32_t groups = group1 - first < PK_PANEL_GROUPS ? group1 - first : PK_PANEL_GROUPS;
    for (size_t block = 0; block < job->blocks; block += PK_PANEL_BLOCKS) {
      size_t left = job->blocks - block, count = left < PK_PANEL_BLOCKS ? left : PK_PANEL_BLOCKS;
      for (int32_t g = 0; g < groups; g++) {
        struct pk_planes p = pk_product_planes(job, first + g);
        decode(&p, block, count, scratch->panel[g]);
      }
      for (int32_t row = 0, size = 0; row < job->rows; row += PK_TILE_ROWS[size]) {
        while (PK_TILE_ROWS[size] > job->rows - row) size++;
        int R = PK_TILE_ROWS[size];
        pk_copy_tile(x + (size_t)row * job->blocks + block, job->blocks, R, count, kind, scratch->tile);
        for (int32_t g = 0; g < groups; g++) {
          struct pk_target to;
          pk_open_target(job, &to, first + g, row, R, R, block > 0, count == left);
          tiles[size](scratch->panel[g], scratch->tile, count, block > 0, to.bias, to.y, to.ldy);
          pk_close_target(job, &to, first + g, row, R);
        }
      }
    }
  }
}
#endif
