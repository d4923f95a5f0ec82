// Products with floats: acc = fma(weight, x, acc) over k in order, one chain for each element.
// Float forms, and blocks of integers that meet rows which are not rounded.
#ifndef PK_FLOATS_H
#define PK_FLOATS_H
#include "integers.h"

enum { PK_FPANEL_K = 256 };

struct pk_float_scratch {
  float panel[PK_PANEL_GROUPS][PK_FPANEL_K][PK_GROUP];
  struct pk_pblock blocks[PK_FPANEL_K / 32];
};

static PK_INLINE vf pk_f32_at(const uint8_t* at, size_t k, int part) {
  return vf_load(at + k * 64 + PK_AT(part));
}
static PK_INLINE vf pk_f16_at(const uint8_t* at, size_t k, int part) {
  return vf_half(at + k * 32 + part * 2 * PK_W);
}
static PK_INLINE vf pk_bf16_at(const uint8_t* at, size_t k, int part) {
  return vf_bits(vi_sl(vi_u16(at + k * 32 + part * 2 * PK_W), 16));
}

// k that a row takes from one group before it goes to the next: groups are streams of memory, as
// above, and their chains run beside each other.
enum { PK_ROW_K = 16 };

#define PK_DEFINE_FLOAT(name, bytes)                                                                 \
  static void name##_row(const uint8_t* w, size_t groupBytes, int groups, const float* x,          \
                         size_t columns, vf (*sums)[PK_PARTS]) {                                   \
    for (size_t begin = 0; begin < columns; begin += PK_ROW_K) {                                   \
      size_t end = begin + PK_ROW_K < columns ? begin + PK_ROW_K : columns;                        \
      for (int g = 0; g < groups; g++) {                                                           \
        const uint8_t* at = w + (size_t)g * groupBytes;                                            \
        vf acc[PK_PARTS];                                                                          \
        PK_UNROLL for (int part = 0; part < PK_PARTS; part++) acc[part] = sums[g][part];           \
        for (size_t line = begin * (bytes); line < end * (bytes); line += 64)                      \
          pk_prefetch(at + line + PK_AHEAD);                                                       \
        for (size_t k = begin; k < end; k++) {                                                     \
          PK_UNROLL for (int part = 0; part < PK_PARTS; part++)                                    \
            acc[part] = vf_fma(name##_at(at, k, part), vf_set1(x[k]), acc[part]);                  \
        }                                                                                          \
        PK_UNROLL for (int part = 0; part < PK_PARTS; part++) sums[g][part] = acc[part];           \
      }                                                                                            \
    }                                                                                              \
  }                                                                                                \
  static void name##_panel(const uint8_t* w, size_t k, size_t count, float (*panel)[PK_GROUP]) {   \
    for (size_t i = 0; i < count; i++)                                                             \
      for (int part = 0; part < PK_PARTS; part++)                                                  \
        vf_store(panel[i] + part * PK_W, name##_at(w, k + i, part));                               \
  }
PK_DEFINE_FLOAT(pk_f32, 64)
PK_DEFINE_FLOAT(pk_f16, 32)
PK_DEFINE_FLOAT(pk_bf16, 32)

// A decoded block's weights as floats: the integer times its scale, and the minimum, rounded once.
static void pk_float_block(int kind, const struct pk_pblock* b, const float* factors, float (*panel)[PK_GROUP]) {
  int minus = PK_HAS_OFFSET(kind) ? -(1 << PK_SHIFT(kind)) : 0;
  for (int part = 0; part < PK_PARTS; part++) {
    vf d = vf_load(b->words[0] + PK_AT(part));
    for (int quad = 0; quad < 8; quad++) {
      int second = PK_TWO(kind) && quad >= 4;
      vf scale = PK_TWO(kind) ? vf_mul(d, vf_load(factors + second * PK_GROUP + part * PK_W)) : d;
      vi four = vi_load(b->quads[quad] + PK_AT(part));
      for (int j = 0; j < 4; j++) {
        vi byte = PK_BITS(kind) == 8 && PK_SIGNED8 ? vi_sra(vi_sl(four, 24 - 8 * j), 24)
                                                   : vi_and(vi_sr(four, 8 * j), vi_set1(255));
        vf code = vf_from(vi_add(byte, vi_set1(minus)));
        vf value = PK_MINIMUM(kind) ? vf_fma(code, scale, vf_load(b->words[3 + second] + PK_AT(part)))
                                    : vf_mul(code, scale);
        vf_store(panel[quad * 4 + j] + part * PK_W, value);
      }
    }
  }
}

// c0 and c1 of a panel's block as floats.
static void pk_factors(const struct pk_pblock* b, float* out) {
  for (int i = 0; i < 2 * PK_GROUP; i++) {
    const uint8_t* at = b->words[1 + i / PK_GROUP] + 4 * (i % PK_GROUP);
#if PK_FACTORS_ARE_FLOATS
    out[i] = pk_float(pk_u32(at));
#else
    out[i] = (float)(int16_t)pk_u16(at);
#endif
  }
}

// Groups that share the rows of a tile: where a group is one vector, each x serves two.
#define PK_FGROUPS (PK_PARTS == 1 ? 2 : 1)

// R rows times G groups, `count` of k.
static PK_INLINE void pk_float_tile(int R, int G, const float (*panel)[PK_FPANEL_K][PK_GROUP], const float* x,
                                    int64_t ldx, size_t count, int began, const struct pk_target* to) {
  vf acc[PK_FROWS][PK_FGROUPS][PK_PARTS];
  PK_UNROLL for (int r = 0; r < R; r++) {
    PK_UNROLL for (int g = 0; g < G; g++) {
      PK_UNROLL for (int part = 0; part < PK_PARTS; part++)
        acc[r][g][part] = began ? vf_load(to[g].y + r * to[g].ldy + part * PK_W) : vf_zero();
    }
  }
  for (size_t k = 0; k < count; k++) {
    vf w[PK_FGROUPS][PK_PARTS];
    PK_UNROLL for (int g = 0; g < G; g++) {
      PK_UNROLL for (int part = 0; part < PK_PARTS; part++) w[g][part] = vf_load(panel[g][k] + part * PK_W);
    }
    PK_UNROLL for (int r = 0; r < R; r++) {
      vf factor = vf_set1(x[r * ldx + (int64_t)k]);
      PK_UNROLL for (int g = 0; g < G; g++) {
        PK_UNROLL for (int part = 0; part < PK_PARTS; part++)
          acc[r][g][part] = vf_fma(w[g][part], factor, acc[r][g][part]);
      }
    }
  }
  PK_UNROLL for (int r = 0; r < R; r++) {
    PK_UNROLL for (int g = 0; g < G; g++) {
      PK_UNROLL for (int part = 0; part < PK_PARTS; part++) {
        vf sum = acc[r][g][part];
        if (to[g].bias) sum = vf_add(sum, vf_load(to[g].bias + part * PK_W));
        vf_store(to[g].y + r * to[g].ldy + part * PK_W, sum);
      }
    }
  }
}

typedef void (*pk_float_function)(const float (*)[PK_FPANEL_K][PK_GROUP], const float*, int64_t, size_t, int,
                                  const struct pk_target*);
#define PK_DEFINE_FLOAT_TILE(R, G)                                                                  \
  static void pk_float_tile_##R##_##G(const float (*panel)[PK_FPANEL_K][PK_GROUP], const float* x, \
                                      int64_t ldx, size_t count, int began,                        \
                                      const struct pk_target* to) {                                \
    pk_float_tile(R, G, panel, x, ldx, count, began, to);                                          \
  }
#if PK_PARTS == 1
#define PK_DEFINE_FLOAT_TILES(R) PK_DEFINE_FLOAT_TILE(R, 1) PK_DEFINE_FLOAT_TILE(R, 2)
#define PK_FLOAT_TILES(R) {pk_float_tile_##R##_1, pk_float_tile_##R##_2}
#else
#define PK_DEFINE_FLOAT_TILES(R) PK_DEFINE_FLOAT_TILE(R, 1)
#define PK_FLOAT_TILES(R) {pk_float_tile_##R##_1}
#endif
PK_DEFINE_FLOAT_TILES(1)
PK_DEFINE_FLOAT_TILES(2)
PK_DEFINE_FLOAT_TILES(4)
#if PK_FROWS == 12
PK_DEFINE_FLOAT_TILES(8)
PK_DEFINE_FLOAT_TILES(12)
static const int PK_FLOAT_ROWS[] = {12, 8, 4, 2, 1};
static const pk_float_function pk_float_tiles[][PK_FGROUPS] = {
    PK_FLOAT_TILES(12), PK_FLOAT_TILES(8), PK_FLOAT_TILES(4), PK_FLOAT_TILES(2), PK_FLOAT_TILES(1)};
#elif PK_FROWS == 6
PK_DEFINE_FLOAT_TILES(6)
static const int PK_FLOAT_ROWS[] = {6, 4, 2, 1};
static const pk_float_function pk_float_tiles[][PK_FGROUPS] = {PK_FLOAT_TILES(6), PK_FLOAT_TILES(4),
                                                               PK_FLOAT_TILES(2), PK_FLOAT_TILES(1)};
#else
static const int PK_FLOAT_ROWS[] = {4, 2, 1};
static const pk_float_function pk_float_tiles[][PK_FGROUPS] = {PK_FLOAT_TILES(4), PK_FLOAT_TILES(2),
                                                               PK_FLOAT_TILES(1)};
#endif

static void pk_floats_one(const struct pk_product* job, const float* x, int32_t group0, int32_t group1) {
  const struct pk_matrix* m = job->matrix;
  size_t columns = (size_t)m->columns;
  for (int32_t first = group0; first < group1; first += PK_ROW_GROUPS) {
    vf sums[PK_ROW_GROUPS][PK_PARTS];
    int groups = group1 - first < PK_ROW_GROUPS ? group1 - first : PK_ROW_GROUPS;
    const uint8_t* w = (const uint8_t*)m->data + (size_t)first * job->groupBytes;
    for (int g = 0; g < groups; g++) {
      for (int part = 0; part < PK_PARTS; part++) sums[g][part] = vf_zero();
    }
    if (m->form == PK_F32) pk_f32_row(w, job->groupBytes, groups, x, columns, sums);
    else if (m->form == PK_F16) pk_f16_row(w, job->groupBytes, groups, x, columns, sums);
    else pk_bf16_row(w, job->groupBytes, groups, x, columns, sums);
    pk_write_sums(job, first, groups, sums);
  }
}

// Weights [k, k + count) of a group as floats.
static void pk_float_panel(const struct pk_product* job, int32_t group, size_t k, size_t count,
                           struct pk_pblock* blocks, float (*panel)[PK_GROUP]) {
  const struct pk_matrix* m = job->matrix;
  const uint8_t* w = (const uint8_t*)m->data + (size_t)group * job->groupBytes;
  if (m->form == PK_F32) {
    pk_f32_panel(w, k, count, panel);
  } else if (m->form == PK_F16) {
    pk_f16_panel(w, k, count, panel);
  } else if (m->form == PK_BF16) {
    pk_bf16_panel(w, k, count, panel);
  } else {
    struct pk_planes p = pk_product_planes(job, group);
    int kind = pk_kind_of(m->form);
    float factors[2 * PK_GROUP];
    size_t n = (count + 31) / 32;
    pk_panel_of(m->form)(&p, k / 32, n, blocks);
    for (size_t i = 0; i < n; i++) {
      if (PK_TWO(kind)) pk_factors(&blocks[i], factors);
      pk_float_block(kind, &blocks[i], factors, panel + i * 32);
    }
  }
}

static void pk_floats_many(const struct pk_product* job, const float* x, int64_t ldx, int32_t group0,
                           int32_t group1, struct pk_float_scratch* scratch) {
  size_t columns = (size_t)job->matrix->columns;
  for (int32_t first = group0; first < group1; first += PK_PANEL_GROUPS) {
    int32_t groups = group1 - first < PK_PANEL_GROUPS ? group1 - first : PK_PANEL_GROUPS;
    for (size_t k = 0; k < columns; k += PK_FPANEL_K) {
      size_t left = columns - k, count = left < PK_FPANEL_K ? left : PK_FPANEL_K;
      for (int32_t g = 0; g < groups; g++)
        pk_float_panel(job, first + g, k, count, scratch->blocks, scratch->panel[g]);
      for (int32_t row = 0, size = 0; row < job->rows; row += PK_FLOAT_ROWS[size]) {
        while (PK_FLOAT_ROWS[size] > job->rows - row) size++;
        int R = PK_FLOAT_ROWS[size];
        for (int32_t g = 0; g < groups; g += PK_FGROUPS) {
          struct pk_target to[PK_FGROUPS];
          int G = groups - g < PK_FGROUPS ? groups - g : PK_FGROUPS;
          for (int i = 0; i < G; i++) pk_open_target(job, &to[i], first + g + i, row, R, R, k > 0, count == left);
          pk_float_tiles[size][G - 1]((const float(*)[PK_FPANEL_K][PK_GROUP])&scratch->panel[g],
                                      x + row * ldx + (int64_t)k, ldx, count, k > 0, to);
          for (int i = 0; i < G; i++) pk_close_target(job, &to[i], first + g + i, row, R);
        }
      }
    }
  }
}
#endif
