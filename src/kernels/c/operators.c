// Norms, turning, activations, routes to experts.
#include "operators.h"
#include "functions.h"
#include "program.h"

// The last vector of a row may reach behind it: `some` and `put` see to that.
#define FOR_VECTORS(first, end) for (int32_t i = first; i < end; i += 16)

// Values i to i + 16 of x, zeros from `end` on.
V_INLINE v16 some(const float* x, int32_t i, int32_t end) {
  if (i + 16 <= end) return v_load(x + i);
  v16 part = v_set(0);
  for (int32_t lane = 0; i + lane < end; lane++) part[lane] = x[i + lane];
  return part;
}

V_INLINE void put(float* x, int32_t i, int32_t end, v16 value) {
  if (i + 16 <= end) {
    v_store(x + i, value);
    return;
  }
  for (int32_t lane = 0; i + lane < end; lane++) x[i + lane] = value[lane];
}

void pk_norm_row(float* x, const float* branch, const float* weight, const float* bias, float eps,
                 int32_t width, float* out) {
  if (branch) pk_add(x, branch, width);
  float mean = 0;
  if (bias) {
    v16 sum = v_set(0);
    FOR_VECTORS(0, width) sum += some(x, i, width);
    mean = v_sum(sum) / (float)width;
  }
  v16 squares = v_set(0);
  if (bias) {
    FOR_VECTORS(0, width) {
      v16 d = some(x, i, width) - v_set(mean);
      if (i + 16 > width) {
        for (int32_t lane = width - i; lane < 16; lane++) d[lane] = 0;
      }
      squares = v_fma(d, d, squares);
    }
  } else {
    FOR_VECTORS(0, width) {
      v16 value = some(x, i, width);
      squares = v_fma(value, value, squares);
    }
  }
  v16 r = v_set(1.0f / pk_sqrt(v_sum(squares) / (float)width + eps));
  if (bias) {
    FOR_VECTORS(0, width) {
      v16 d = some(x, i, width) - v_set(mean);
      put(out, i, width, v_fma(d * r, some(weight, i, width), some(bias, i, width)));
    }
  } else {
    FOR_VECTORS(0, width) {
      put(out, i, width, some(x, i, width) * r * some(weight, i, width));
    }
  }
}

void pk_turn(float* head, const float* cosines, const float* sines, int32_t rotary) {
  int32_t half = rotary / 2;
  FOR_VECTORS(0, half) {
    v16 a = some(head, i, half), b = some(head + half, i, half);
    v16 c = some(cosines, i, half), s = some(sines, i, half);
    put(head, i, half, v_fma(a, c, -(b * s)));
    put(head + half, i, half, v_fma(b, c, a * s));
  }
}

#define ACTIVATE(expression)                     \
  FOR_VECTORS(first, end) {                      \
    v16 a = some(x, i, end);                     \
    put(out, i, end, expression);                \
  }                                              \
  break

void pk_activate(int32_t kind, const float* x, float* out, int32_t width, int32_t first,
                 int32_t end) {
  const float* up = x + width;
  switch (kind) {
    case PK_SWIGLU:
      ACTIVATE(v_silu(a) * some(up, i, end));
    case PK_GEGLU_TANH:
      ACTIVATE(v_gelu_tanh(a) * some(up, i, end));
    case PK_GEGLU_ERF:
      ACTIVATE(v_gelu_erf(a) * some(up, i, end));
    case PK_GELU_TANH:
      ACTIVATE(v_gelu_tanh(a));
    case PK_GELU_ERF:
      ACTIVATE(v_gelu_erf(a));
    default:
      ACTIVATE(v_silu(a));
  }
}

void pk_add(float* into, const float* from, int32_t width) {
  FOR_VECTORS(0, width) put(into, i, width, some(into, i, width) + some(from, i, width));
}

void pk_add_times(float* into, const float* from, float factor, int32_t width) {
  FOR_VECTORS(0, width) {
    put(into, i, width, v_fma(v_set(factor), some(from, i, width), some(into, i, width)));
  }
}

void pk_scale(float* x, float factor, int32_t width) {
  FOR_VECTORS(0, width) put(x, i, width, some(x, i, width) * v_set(factor));
}

void pk_soft_cap(float* x, float cap, int32_t width) {
  FOR_VECTORS(0, width) put(x, i, width, v_soft_cap(some(x, i, width), cap));
}

void pk_route(const float* scores, int32_t count, int32_t chosen, int32_t shares_of_all,
              int32_t* numbers, float* shares) {
  for (int32_t at = 0; at < chosen; at++) {
    int32_t best = -1;
    for (int32_t i = 0; i < count; i++) {
      int32_t taken = 0;
      for (int32_t before = 0; before < at; before++) taken |= numbers[before] == i;
      if (!taken && (best < 0 || scores[i] > scores[best])) best = i;
    }
    numbers[at] = best;
  }
  float most = scores[numbers[0]], sum = 0;
  for (int32_t at = 0; at < chosen; at++) shares[at] = pk_exp(scores[numbers[at]] - most);
  if (shares_of_all) {
    for (int32_t i = 0; i < count; i++) sum += pk_exp(scores[i] - most);
  } else {
    for (int32_t at = 0; at < chosen; at++) sum += shares[at];
  }
  for (int32_t at = 0; at < chosen; at++) shares[at] = shares[at] / sum;
}

int32_t pk_all_finite(const float* x, int32_t width) {
  // What is no number, or infinite, has all bits of the exponent: times 0 it is no number.
  v16 sum = v_set(0);
  FOR_VECTORS(0, width) sum += some(x, i, width) * v_set(0);
  return v_sum(sum) == 0;
}

int32_t pk_first_bad_row(const float* values, int32_t rows, int32_t width) {
  for (int32_t row = 0; row < rows; row++) {
    if (!pk_all_finite(values + (int64_t)row * width, width)) return row;
  }
  return -1;
}
