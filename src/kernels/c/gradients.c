// Chains in bulk, and the gradients of norms, turning and activations, of single rows.
#include "gradients.h"
#include "functions.h"

#define LANES 16

V_INLINE v16 some(const float* x, int32_t i, int32_t end) {
  if (i + LANES <= end) return v_load(x + i);
  v16 part = v_set(0);
  for (int32_t lane = 0; i + lane < end; lane++) part[lane] = x[i + lane];
  return part;
}

V_INLINE void put(float* x, int32_t i, int32_t end, v16 value) {
  if (i + LANES <= end) {
    v_store(x + i, value);
    return;
  }
  for (int32_t lane = 0; i + lane < end; lane++) x[i + lane] = value[lane];
}

// As many vectors as registers hold beside a row of b.
#if defined(__AVX512F__)
enum { TILE_ROWS = 6, TILE_VECTORS = 4, NARROW_ROWS = 12 };
#else
enum { TILE_ROWS = 3, TILE_VECTORS = 2, NARROW_ROWS = 6 };
#endif

// A tile of whole vectors.
V_INLINE void tile(int R, int C, const struct pk_chains* s, int32_t i, int32_t j) {
  v16 acc[NARROW_ROWS][TILE_VECTORS];
  const float* a = s->a + i * s->ai;
  const float* b = s->b + j;
  float* c = s->c + i * s->ci + j;
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
    for (int v = 0; v < C; v++) acc[r][v] = s->adds ? v_load(c + r * s->ci + LANES * v) : v_set(0);
  }
  for (int32_t l = 0; l < s->length;) {
    // Rows of a are too short for the hardware to see them coming.
    if (s->al == 1) {
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) __builtin_prefetch(a + (R + r) * s->ai, 0, 2);
    }
    int32_t stop = l + LANES < s->length ? l + LANES : s->length;
    for (; l < stop; l++, a += s->al, b += s->bl) {
      v16 from[TILE_VECTORS];
#pragma GCC unroll 8
      for (int v = 0; v < C; v++) from[v] = v_load(b + LANES * v);
#pragma GCC unroll 16
      for (int r = 0; r < R; r++) {
        v16 factor = v_set(a[r * s->ai]);
#pragma GCC unroll 8
        for (int v = 0; v < C; v++) acc[r][v] = v_fma(factor, from[v], acc[r][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
    for (int v = 0; v < C; v++) v_store(c + r * s->ci + LANES * v, acc[r][v]);
  }
}

static void edge(const struct pk_chains* s, int32_t i, int32_t j) {
  const float* a = s->a + i * s->ai;
  float* c = s->c + i * s->ci;
  v16 acc = s->adds ? some(c, j, s->columns) : v_set(0);
  for (int32_t l = 0; l < s->length; l++) {
    acc = v_fma(v_set(a[l * s->al]), some(s->b + l * s->bl, j, s->columns), acc);
  }
  put(c, j, s->columns, acc);
}

static void wide(const struct pk_chains* s, int32_t j) {
  int32_t i = 0;
  for (; i + TILE_ROWS <= s->rows; i += TILE_ROWS) tile(TILE_ROWS, TILE_VECTORS, s, i, j);
  if (TILE_ROWS > 4 && i + 4 <= s->rows) tile(4, TILE_VECTORS, s, i, j), i += 4;
  if (i + 2 <= s->rows) tile(2, TILE_VECTORS, s, i, j), i += 2;
  for (; i < s->rows; i++) tile(1, TILE_VECTORS, s, i, j);
}

static void narrow(const struct pk_chains* s, int32_t j) {
  int32_t i = 0;
  for (; i + NARROW_ROWS <= s->rows; i += NARROW_ROWS) tile(NARROW_ROWS, 1, s, i, j);
  for (; i + 4 <= s->rows; i += 4) tile(4, 1, s, i, j);
  for (; i < s->rows; i++) tile(1, 1, s, i, j);
}

void pk_chain(const struct pk_chains* s) {
  int32_t j = 0;
  for (; j + LANES * TILE_VECTORS <= s->columns; j += LANES * TILE_VECTORS) wide(s, j);
  for (; j + LANES <= s->columns; j += LANES) narrow(s, j);
  if (j < s->columns) {
    for (int32_t i = 0; i < s->rows; i++) edge(s, i, j);
  }
}

V_INLINE v16 within(v16 x, int32_t i, int32_t width) {
  if (i + LANES > width) {
    for (int32_t lane = width - i; lane < LANES; lane++) x[lane] = 0;
  }
  return x;
}

static void rms_back(const float* x, const float* gradient, const float* weight, float eps,
                     int32_t width, int32_t adds, float* dx) {
  v16 squares = v_set(0), along = v_set(0);
  for (int32_t i = 0; i < width; i += LANES) {
    v16 value = some(x, i, width);
    squares = v_fma(value, value, squares);
    along = v_fma(some(gradient, i, width) * some(weight, i, width), value, along);
  }
  float r = 1.0f / pk_sqrt(v_sum(squares) / (float)width + eps);
  float c = v_sum(along) * r * r * r / (float)width;
  for (int32_t i = 0; i < width; i += LANES) {
    v16 h = some(gradient, i, width) * some(weight, i, width);
    v16 d = v_fma(h, v_set(r), -(some(x, i, width) * v_set(c)));
    put(dx, i, width, adds ? some(dx, i, width) + d : d);
  }
}

static void layer_back(const float* x, const float* gradient, const float* weight, float eps,
                       int32_t width, int32_t adds, float* dx) {
  v16 sum = v_set(0), squares = v_set(0), plain = v_set(0), along = v_set(0);
  for (int32_t i = 0; i < width; i += LANES) sum += some(x, i, width);
  v16 mean = v_set(v_sum(sum) / (float)width);
  for (int32_t i = 0; i < width; i += LANES) {
    v16 d = within(some(x, i, width) - mean, i, width);
    v16 h = some(gradient, i, width) * some(weight, i, width);
    squares = v_fma(d, d, squares);
    plain += h;
    along = v_fma(h, d, along);
  }
  float r = 1.0f / pk_sqrt(v_sum(squares) / (float)width + eps);
  v16 a = v_set(v_sum(plain) / (float)width), b = v_set(v_sum(along) * r * r / (float)width);
  for (int32_t i = 0; i < width; i += LANES) {
    v16 h = some(gradient, i, width) * some(weight, i, width);
    v16 d = v_fma(-(some(x, i, width) - mean), b, h - a) * v_set(r);
    put(dx, i, width, adds ? some(dx, i, width) + d : d);
  }
}

void pk_norm_back(const float* x, const float* gradient, const float* weight, int32_t layer, float eps,
                  int32_t width, int32_t adds, float* dx) {
  if (layer) layer_back(x, gradient, weight, eps, width, adds, dx);
  else rms_back(x, gradient, weight, eps, width, adds, dx);
}

void pk_turn_back(float* gradient, const float* cosines, const float* sines, int32_t rotary) {
  int32_t half = rotary / 2;
  for (int32_t i = 0; i < half; i += LANES) {
    v16 a = some(gradient, i, half), b = some(gradient + half, i, half);
    v16 c = some(cosines, i, half), s = some(sines, i, half);
    put(gradient, i, half, v_fma(a, c, b * s));
    put(gradient + half, i, half, v_fma(b, c, -(a * s)));
  }
}

V_INLINE v16 silu_slope(v16 x) {
  v16 one = v_set(1), sigmoid = one / (one + v_exp(-x));
  return sigmoid * v_fma(x, one - sigmoid, one);
}

V_INLINE v16 gelu_tanh_slope(v16 x) {
  v16 one = v_set(1), half = v_set(0.5f), square = x * x;
  v16 t = v_tanh(x * v_fma(v_set(0.0356774081f), square, v_set(0.7978845608f)));
  v16 inner = v_fma(v_set(0.1070322243f), square, v_set(0.7978845608f));
  return half * (one + t) + half * x * (one - t * t) * inner;
}

V_INLINE v16 gelu_erf_slope(v16 x) {
  v16 one = v_set(1), half = v_set(0.5f);
  v16 bell = v_exp(-(half * x * x)) * v_set(0.3989422804f);
  return v_fma(x, bell, half * (one + v_erf(x * v_set(0.70710678f))));
}

#define GATED(value, slope)                                  \
  for (int32_t i = 0; i < width; i += LANES) {               \
    v16 a = some(x, i, width), up = some(x + width, i, width); \
    v16 g = some(gradient, i, width);                        \
    put(dx, i, width, g * up * slope(a));                    \
    put(dx + width, i, width, g * value(a));                 \
  }                                                          \
  break

#define PLAIN(slope)                                                          \
  for (int32_t i = 0; i < width; i += LANES) {                                \
    put(dx, i, width, some(gradient, i, width) * slope(some(x, i, width)));   \
  }                                                                           \
  break

void pk_activate_back(int32_t kind, const float* x, const float* gradient, float* dx, int32_t width) {
  switch (kind) {
    case PK_SWIGLU:
      GATED(v_silu, silu_slope);
    case PK_GEGLU_TANH:
      GATED(v_gelu_tanh, gelu_tanh_slope);
    case PK_GEGLU_ERF:
      GATED(v_gelu_erf, gelu_erf_slope);
    case PK_GELU_TANH:
      PLAIN(gelu_tanh_slope);
    case PK_GELU_ERF:
      PLAIN(gelu_erf_slope);
    default:
      PLAIN(silu_slope);
  }
}

void pk_entropy(const float* logits, int32_t target, float weight, int32_t width, float* gradient,
                float* facts) {
  if (target < 0) {
    for (int32_t i = 0; i < width; i += LANES) put(gradient, i, width, v_set(0));
    facts[0] = 1;
    facts[1] = 0;
    return;
  }
  v16 tops = v_set(-__builtin_inff()), sum = v_set(0);
  int32_t whole = width / LANES * LANES;
  for (int32_t i = 0; i < whole; i += LANES) tops = v_max(v_load(logits + i), tops);
  float most = tops[0], own = logits[target];
  for (int32_t lane = 1; lane < LANES; lane++) most = tops[lane] > most ? tops[lane] : most;
  for (int32_t i = whole; i < width; i++) most = logits[i] > most ? logits[i] : most;
  for (int32_t i = 0; i < width; i += LANES) {
    v16 e = within(v_exp(some(logits, i, width) - v_set(most)), i, width);
    put(gradient, i, width, e);
    sum += e;
  }
  float z = v_sum(sum);
  v16 factor = v_set(weight / z);
  for (int32_t i = 0; i < width; i += LANES) put(gradient, i, width, some(gradient, i, width) * factor);
  gradient[target] = gradient[target] - weight;
  facts[0] = z;
  facts[1] = own - most;
}

void pk_soft_cap_back(const float* capped, float cap, int32_t width, float* gradient) {
  for (int32_t i = 0; i < width; i += LANES) {
    v16 t = some(capped, i, width) / v_set(cap);
    put(gradient, i, width, some(gradient, i, width) * v_fma(-t, t, v_set(1)));
  }
}

float pk_share_back(const float* down, const float* gradient, float share, int32_t width,
                    float* down_gradient) {
  v16 along = v_set(0);
  for (int32_t i = 0; i < width; i += LANES) {
    v16 g = some(gradient, i, width);
    along = v_fma(g, some(down, i, width), along);
    put(down_gradient, i, width, g * v_set(share));
  }
  return v_sum(along);
}

void pk_route_back(const float* scores, int32_t count, int32_t chosen, int32_t shares_of_all,
                   const int32_t* numbers, const float* shares, const float* share_gradient,
                   float* score_gradient) {
  float along = 0, sum = 0, most = scores[numbers[0]];
  for (int32_t at = 0; at < chosen; at++) along = pk_fma(shares[at], share_gradient[at], along);
  if (shares_of_all) {
    for (int32_t i = 0; i < count; i++) sum += pk_exp(scores[i] - most);
  }
  for (int32_t i = 0; i < count; i++) {
    score_gradient[i] = shares_of_all ? -(pk_exp(scores[i] - most) / sum * along) : 0;
  }
  for (int32_t at = 0; at < chosen; at++) {
    score_gradient[numbers[at]] = shares[at] * (share_gradient[at] - along);
  }
}
