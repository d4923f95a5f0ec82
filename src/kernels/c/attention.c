// Attention. Sixteen positions' keys lie beside each other in lanes, so that scores are chains
// without sums across lanes; values lie position by position. Both are of one kind of number (f16,
// f32, int8).
#include "attention.h"
#include "functions.h"
#include "operators.h"

enum { LANES = 16, KIND_F16 = PK_KV_F16, KIND_F32 = PK_KV_F32, KIND_INT8 = PK_KV_INT8 };

V_INLINE int32_t padded(int32_t dim) { return (dim + LANES - 1) / LANES * LANES; }
V_INLINE uint64_t element(int32_t kind) {
  return kind == KIND_F16 ? 2 : kind == KIND_F32 ? 4 : 1;
}

uint64_t pk_kv_head_bytes(int32_t kind, int32_t dim, int32_t positions) {
  uint64_t values = (uint64_t)positions * (uint64_t)(dim + padded(dim)) * element(kind);
  uint64_t scales = kind == KIND_INT8 ? 2 * 4 * (uint64_t)positions : 0;
  return (values + scales + 63) / 64 * 64;
}

// A head's keys, values and scales in one page.
struct part {
  char *keys, *values;
  float *key_scales, *value_scales;
};

static struct part part_of(const struct pk_kv* kv, int32_t head, int32_t position) {
  const struct pk_attention* shape = kv->shape;
  int32_t positions = kv->page_positions, kind = shape->kv_type;
  struct part part;
  part.keys = (char*)kv->pages[position / positions] + kv->offset +
              (uint64_t)head * pk_kv_head_bytes(kind, shape->dim, positions);
  part.values = part.keys + (uint64_t)positions * (uint64_t)shape->dim * element(kind);
  part.key_scales = (float*)(part.values + (uint64_t)positions * (uint64_t)padded(shape->dim) * element(kind));
  part.value_scales = part.key_scales + positions;
  return part;
}

void pk_prepare_head(const struct pk_attention* shape, float* head, const float* norm,
                     int32_t position) {
  if (norm) pk_norm_row(head, 0, norm, 0, shape->norm_eps, shape->dim, head);
  if (shape->rotary == 0) return;
  int64_t at = (int64_t)position * (shape->rotary / 2);
  pk_turn(head, shape->rope_cos + at, shape->rope_sin + at, shape->rotary);
}

// Scale of int8, and by what values are multiplied before they are rounded.
static float int8_scale(const float* x, int32_t dim, float* by) {
  float most = 0;
  for (int32_t i = 0; i < dim; i++) {
    float size = x[i] < 0 ? -x[i] : x[i];
    most = size > most ? size : most;
  }
  *by = most > 0 ? 127.0f / most : 0;
  return most / 127.0f;
}

static int8_t int8_of(float x, float by) { return (int8_t)v_round(v_set(x * by))[0]; }

void pk_store_key(const struct pk_kv* kv, int32_t head, int32_t position, const float* key) {
  int32_t dim = kv->shape->dim, kind = kv->shape->kv_type;
  struct part part = part_of(kv, head, position);
  int32_t at = position % kv->page_positions;
  int64_t first = (int64_t)(at / LANES) * LANES * dim + at % LANES;
  float by;
  switch (kind) {
    case KIND_F16:
      for (int32_t i = 0; i < dim; i++) ((uint16_t*)part.keys)[first + LANES * i] = pk_to_half(key[i]);
      break;
    case KIND_F32:
      for (int32_t i = 0; i < dim; i++) ((float*)part.keys)[first + LANES * i] = key[i];
      break;
    default:
      part.key_scales[at] = int8_scale(key, dim, &by);
      for (int32_t i = 0; i < dim; i++) ((int8_t*)part.keys)[first + LANES * i] = int8_of(key[i], by);
  }
}

void pk_store_value(const struct pk_kv* kv, int32_t head, int32_t position, const float* value) {
  int32_t dim = kv->shape->dim, kind = kv->shape->kv_type, wide = padded(dim);
  struct part part = part_of(kv, head, position);
  int32_t at = position % kv->page_positions;
  int64_t first = (int64_t)at * wide;
  float by = 0;
  if (kind == KIND_INT8) part.value_scales[at] = int8_scale(value, dim, &by);
  for (int32_t i = 0; i < wide; i++) {
    float x = i < dim ? value[i] : 0;
    if (kind == KIND_F16) ((uint16_t*)part.values)[first + i] = pk_to_half(x);
    else if (kind == KIND_F32) ((float*)part.values)[first + i] = x;
    else ((int8_t*)part.values)[first + i] = int8_of(x, by);
  }
}

V_INLINE v16 number(int32_t kind, const char* at, int64_t index) {
  if (kind == KIND_F16) return v_from_half((const uint16_t*)at + index);
  if (kind == KIND_F32) return v_load((const float*)at + index);
  return v_from_bytes((const int8_t*)at + index);
}

// Scores of `count` queries against `tiles` times 16 positions: chains over the head's width.
V_INLINE void score(int32_t kind, int32_t count, int32_t tiles, int32_t dim, const float* const* q,
                    const char* const* keys, float* const* scores, int32_t at) {
  v16 sum[4][4];
  for (int32_t a = 0; a < count; a++) {
    for (int32_t t = 0; t < tiles; t++) sum[a][t] = v_set(0);
  }
  for (int32_t d = 0; d < dim; d++) {
    v16 key[4];
    for (int32_t t = 0; t < tiles; t++) key[t] = number(kind, keys[t], (int64_t)d * LANES);
    for (int32_t a = 0; a < count; a++) {
      v16 query = v_set(q[a][d]);
      for (int32_t t = 0; t < tiles; t++) sum[a][t] = v_fma(query, key[t], sum[a][t]);
    }
  }
  for (int32_t a = 0; a < count; a++) {
    for (int32_t t = 0; t < tiles; t++) v_store(scores[a] + at + LANES * t, sum[a][t]);
  }
}

// Values of positions behind each other: `count` of them at `at`, weighted by p from `from` on.
struct run {
  const char* at;
  int32_t from, count;
};

// `vectors` times 16 elements of `count` queries' sums: chains over positions in order.
V_INLINE void gather(int32_t kind, int32_t count, int32_t vectors, int32_t wide,
                     const struct run* runs, int32_t run_count, const float* const* p,
                     float* const* sums, int32_t column) {
  v16 sum[4][4];
  for (int32_t a = 0; a < count; a++) {
    for (int32_t n = 0; n < vectors; n++) sum[a][n] = v_load(sums[a] + column + LANES * n);
  }
  for (int32_t r = 0; r < run_count; r++) {
    for (int32_t j = 0; j < runs[r].count; j++) {
      v16 value[4];
      for (int32_t n = 0; n < vectors; n++) {
        value[n] = number(kind, runs[r].at, (int64_t)j * wide + column + LANES * n);
      }
      for (int32_t a = 0; a < count; a++) {
        v16 share = v_set(p[a][runs[r].from + j]);
        for (int32_t n = 0; n < vectors; n++) sum[a][n] = v_fma(share, value[n], sum[a][n]);
      }
    }
  }
  for (int32_t a = 0; a < count; a++) {
    for (int32_t n = 0; n < vectors; n++) v_store(sums[a] + column + LANES * n, sum[a][n]);
  }
}

// How many vectors of one, two, and three or four queries fit into the registers together.
#if defined(__AVX512F__)
enum { OF_ONE = 4, OF_TWO = 4, OF_MORE = 4 };
#else
enum { OF_ONE = 4, OF_TWO = 2, OF_MORE = 1 };
#endif

#define SCORE_BY_KIND(count, tiles)                                                       \
  do {                                                                                    \
    if (kind == KIND_F16) score(KIND_F16, count, tiles, dim, q, keys, scores, at);        \
    else if (kind == KIND_F32) score(KIND_F32, count, tiles, dim, q, keys, scores, at);   \
    else score(KIND_INT8, count, tiles, dim, q, keys, scores, at);                        \
  } while (0)

#define SCORE_OF(count, most)                                                             \
  case count:                                                                             \
    for (; (most) > 1 && tiles >= (most); tiles -= (most), keys += (most), at += (most) * LANES) \
      SCORE_BY_KIND(count, most);                                                         \
    for (; tiles > 0; tiles--, keys++, at += LANES) SCORE_BY_KIND(count, 1);              \
    break

// Of one to four queries.
static void score_some(int32_t kind, int32_t count, int32_t tiles, int32_t dim, const float* const* q,
                       const char* const* keys, float* const* scores, int32_t at) {
  switch (count) {
    SCORE_OF(1, OF_ONE);
    SCORE_OF(2, OF_TWO);
    SCORE_OF(3, OF_MORE);
    SCORE_OF(4, OF_MORE);
  }
}

#define GATHER_BY_KIND(count, vectors)                                                         \
  do {                                                                                         \
    if (kind == KIND_F16) {                                                                    \
      gather(KIND_F16, count, vectors, wide, runs, run_count, p, sums, column);                \
    } else if (kind == KIND_F32) {                                                             \
      gather(KIND_F32, count, vectors, wide, runs, run_count, p, sums, column);                \
    } else {                                                                                   \
      gather(KIND_INT8, count, vectors, wide, runs, run_count, p, sums, column);               \
    }                                                                                          \
  } while (0)

#define GATHER_OF(count, most)                                                                 \
  case count:                                                                                  \
    for (; (most) > 1 && column + (most) * LANES <= wide; column += (most) * LANES)            \
      GATHER_BY_KIND(count, most);                                                             \
    for (; column < wide; column += LANES) GATHER_BY_KIND(count, 1);                           \
    break

static void gather_some(int32_t kind, int32_t count, int32_t wide, const struct run* runs,
                        int32_t run_count, const float* const* p, float* const* sums) {
  int32_t column = 0;
  switch (count) {
    GATHER_OF(1, OF_ONE);
    GATHER_OF(2, OF_TWO);
    GATHER_OF(3, OF_MORE);
    GATHER_OF(4, OF_MORE);
  }
}

int32_t pk_seen_floats(int32_t dim) { return LANES + padded(dim); }

// Largest score, sum; the values begin at 16.
enum { MOST = 0, SUM = 1 };

static int32_t first_seen(const struct pk_attention* shape, int32_t position) {
  int32_t first = position - shape->window + 1;
  return shape->window == 0 || first < 0 ? 0 : first;
}

void pk_chunks(const struct pk_attention* shape, int32_t position, int32_t rows, int32_t* first,
               int32_t* end) {
  *first = first_seen(shape, position) / PK_CHUNK;
  *end = (position + rows - 1) / PK_CHUNK + 1;
}

static int32_t most_queries(const struct pk_attention* shape) {
  int32_t group = shape->heads / shape->kv_heads;
  return group > PK_QUERIES ? group : PK_QUERIES;
}

uint64_t pk_attention_scratch(const struct pk_attention* shape) {
  uint64_t wide = (uint64_t)padded(shape->dim);
  return 4 * PK_CHUNK * (wide + (uint64_t)most_queries(shape) + 2) + 128;
}

// What a row's scores become: scaled, capped, biased, and of positions that it sees alone.
static void soften(const struct pk_attention* shape, float* scores, const float* key_scales,
                   const float* value_scales, int32_t head, int32_t start, int32_t position,
                   int32_t from, int32_t to, float* seen) {
  int32_t low = from / LANES * LANES, high = (to + LANES - 1) / LANES * LANES;
  v16 most = v_set(-__builtin_inff());
  for (int32_t j = low; j < high; j += LANES) {
    v16 s = v_load(scores + j);
    if (key_scales) s = s * v_load(key_scales + j);
    s = s * v_set(shape->scale);
    if (shape->soft_cap > 0) s = v_soft_cap(s, shape->soft_cap);
    i16x at = v_lanes() + j;
    if (shape->slopes) {
      v16 away = __builtin_convertvector(at + (start - position), v16);
      s = v_fma(v_set(shape->slopes[head]), away, s);
    }
    s = v_select((at >= from) & (at < to), s, v_set(-__builtin_inff()));
    v_store(scores + j, s);
    most = v_max(s, most);
  }
  float largest = v_largest(most);
  v16 sum = v_set(0);
  for (int32_t j = low; j < high; j += LANES) {
    i16x at = v_lanes() + j;
    v16 p = v_exp(v_load(scores + j) - v_set(largest));
    p = v_select((at >= from) & (at < to), p, v_set(0));
    sum += p;
    if (value_scales) p = p * v_load(value_scales + j);
    v_store(scores + j, p);
  }
  seen[MOST] = largest;
  seen[SUM] = v_sum(sum);
}

// Runs of positions [from, to) of a chunk.
static int32_t runs_of(const struct run* all, int32_t all_count, int32_t from, int32_t to,
                       uint64_t row_bytes, struct run* out) {
  int32_t count = 0;
  for (int32_t r = 0; r < all_count; r++) {
    int32_t low = all[r].from > from ? all[r].from : from;
    int32_t end = all[r].from + all[r].count;
    int32_t high = end < to ? end : to;
    if (low >= high) continue;
    out[count].at = all[r].at + (uint64_t)(low - all[r].from) * row_bytes;
    out[count].from = low;
    out[count++].count = high - low;
  }
  return count;
}

void pk_see_chunk(const struct pk_kv* kv, const struct pk_queries* queries, int32_t chunk,
                  float* seen, void* memory) {
  const struct pk_attention* shape = kv->shape;
  int32_t dim = shape->dim, wide = padded(dim), kind = shape->kv_type;
  int32_t group = shape->heads / shape->kv_heads, count = queries->rows * group;
  int32_t start = chunk * PK_CHUNK, stride = pk_seen_floats(dim);
  float* numbers = (float*)(((uintptr_t)memory + 63) / 64 * 64);
  float* all_scores = numbers + (int64_t)PK_CHUNK * wide;
  float* key_scales = all_scores + (int64_t)PK_CHUNK * most_queries(shape);
  float* value_scales = key_scales + PK_CHUNK;

  // Positions of the chunk that any row sees, and for each row its own.
  int32_t last = queries->position + queries->rows - 1;
  int32_t low = first_seen(shape, queries->position) - start, high = last + 1 - start;
  if (low < 0) low = 0;
  if (high > PK_CHUNK) high = PK_CHUNK;
  int32_t tile0 = low / LANES, tile_end = (high + LANES - 1) / LANES;

  // Of many queries keys and values are turned into floats once.
  int32_t turned = kind != KIND_F32 && count >= 8;
  int32_t used = turned ? KIND_F32 : kind;

  const char* tiles[PK_CHUNK / LANES];
  struct run rows[PK_CHUNK / LANES];
  int32_t row_runs = 0;
  uint64_t row_bytes = (uint64_t)wide * element(kind);
  for (int32_t t = tile0; t < tile_end; t++) {
    int32_t position = start + t * LANES, inside = position % kv->page_positions;
    struct part part = part_of(kv, queries->kv_head, position);
    tiles[t] = part.keys + (uint64_t)inside * (uint64_t)dim * element(kind);
    const char* values = part.values + (uint64_t)inside * row_bytes;
    struct run* before = rows + row_runs - 1;
    if (row_runs > 0 && before->at + (uint64_t)before->count * row_bytes == values) {
      before->count += LANES;
    } else {
      rows[row_runs].at = values;
      rows[row_runs].from = t * LANES;
      rows[row_runs++].count = LANES;
    }
    if (kind == KIND_INT8) {
      v_store(key_scales + t * LANES, v_load(part.key_scales + inside));
      v_store(value_scales + t * LANES, v_load(part.value_scales + inside));
    }
  }

  if (turned) {
    for (int32_t t = tile0; t < tile_end; t++) {
      float* to = numbers + (int64_t)t * LANES * dim;
      for (int32_t d = 0; d < dim; d++) v_store(to + LANES * d, number(kind, tiles[t], (int64_t)d * LANES));
      tiles[t] = (const char*)to;
    }
  }
  for (int32_t at = 0; at < count;) {
    int32_t take = count - at < 4 ? count - at : 4;
    const float* q[4];
    float* scores[4];
    for (int32_t a = 0; a < take; a++) {
      int32_t row = (at + a) / group, head = queries->kv_head * group + (at + a) % group;
      q[a] = queries->q + row * queries->stride + (int64_t)head * dim;
      scores[a] = all_scores + (int64_t)(at + a) * PK_CHUNK;
    }
    for (int32_t t = tile0; t < tile_end; t += 4) {
      int32_t some = tile_end - t < 4 ? tile_end - t : 4;
      score_some(used, take, some, dim, q, tiles + t, scores, t * LANES);
    }
    at += take;
  }

  for (int32_t at = 0; at < count; at++) {
    float* mine = seen + (int64_t)at * stride;
    for (int32_t i = 0; i < stride; i += LANES) v_store(mine + i, v_set(0));
    int32_t position = queries->position + at / group;
    int32_t from = first_seen(shape, position) - start, to = position + 1 - start;
    if (from < 0) from = 0;
    if (to > PK_CHUNK) to = PK_CHUNK;
    if (from >= to) continue;
    soften(shape, all_scores + (int64_t)at * PK_CHUNK, kind == KIND_INT8 ? key_scales : 0,
           kind == KIND_INT8 ? value_scales : 0, queries->kv_head * group + at % group, start,
           position, from, to, mine);
  }

  if (turned) {
    for (int32_t r = 0; r < row_runs; r++) {
      float* to = numbers + (int64_t)rows[r].from * wide;
      int64_t length = (int64_t)rows[r].count * wide;
      for (int64_t i = 0; i < length; i += LANES) v_store(to + i, number(kind, rows[r].at, i));
    }
    rows[0].at = (const char*)(numbers + (int64_t)tile0 * LANES * wide);
    rows[0].from = tile0 * LANES;
    rows[0].count = (tile_end - tile0) * LANES;
    row_runs = 1;
    row_bytes = (uint64_t)wide * 4;
  }
  for (int32_t at = 0; at < count;) {
    int32_t take = count - at < 4 ? count - at : 4;
    const float* p[4];
    float* sums[4];
    int32_t from[4], to[4], all_from = 0, all_to = PK_CHUNK;
    for (int32_t a = 0; a < take; a++) {
      int32_t position = queries->position + (at + a) / group;
      p[a] = all_scores + (int64_t)(at + a) * PK_CHUNK;
      sums[a] = seen + (int64_t)(at + a) * stride + LANES;
      from[a] = first_seen(shape, position) - start;
      to[a] = position + 1 - start;
      if (from[a] < 0) from[a] = 0;
      if (to[a] > PK_CHUNK) to[a] = PK_CHUNK;
      if (from[a] > all_from) all_from = from[a];
      if (to[a] < all_to) all_to = to[a];
    }
    // Positions that all see are taken together; those before and behind them, each query its own.
    if (all_to < all_from) all_to = all_from;
    struct run some[PK_CHUNK / LANES];
    int32_t some_count;
    for (int32_t a = 0; a < take; a++) {
      int32_t end = to[a] < all_from ? to[a] : all_from;
      some_count = runs_of(rows, row_runs, from[a], end, row_bytes, some);
      if (some_count) gather_some(used, 1, wide, some, some_count, p + a, sums + a);
    }
    some_count = runs_of(rows, row_runs, all_from, all_to, row_bytes, some);
    if (some_count) gather_some(used, take, wide, some, some_count, p, sums);
    for (int32_t a = 0; a < take; a++) {
      int32_t begin = from[a] > all_to ? from[a] : all_to;
      some_count = runs_of(rows, row_runs, begin, to[a], row_bytes, some);
      if (some_count) gather_some(used, 1, wide, some, some_count, p + a, sums + a);
    }
    at += take;
  }
}

void pk_join(float* seen, const float* later, int32_t dim) {
  if (later[SUM] == 0) return;
  int32_t wide = padded(dim);
  if (seen[SUM] == 0) {
    for (int32_t i = 0; i < LANES + wide; i += LANES) v_store(seen + i, v_load(later + i));
    return;
  }
  float most = seen[MOST] > later[MOST] ? seen[MOST] : later[MOST];
  float f = pk_exp(seen[MOST] - most), g = pk_exp(later[MOST] - most);
  seen[MOST] = most;
  seen[SUM] = pk_fma(seen[SUM], f, later[SUM] * g);
  for (int32_t i = 0; i < wide; i += LANES) {
    float* mine = seen + LANES + i;
    v_store(mine, v_fma(v_load(mine), v_set(f), v_load(later + LANES + i) * v_set(g)));
  }
}

void pk_finish(const struct pk_attention* shape, int32_t head, float* seen, float* out) {
  int32_t dim = shape->dim;
  if (shape->sinks) {
    float sink = shape->sinks[head];
    float most = seen[MOST] > sink ? seen[MOST] : sink;
    float f = pk_exp(seen[MOST] - most);
    seen[SUM] = pk_fma(seen[SUM], f, pk_exp(sink - most));
    pk_scale(seen + LANES, f, padded(dim));
  }
  float share = 1.0f / seen[SUM];
  for (int32_t i = 0; i < dim; i++) out[i] = seen[LANES + i] * share;
}
