// exp, tanh, erf and what activations make of them, as arithmetic.ts defines them: no C library has
// a say. Errors against the exact values: see test/kernels/functions.test.ts.
#ifndef PK_FUNCTIONS_H
#define PK_FUNCTIONS_H
#include "vec/vector.h"

// e^x. Below -87.33654 it is 0, above 88.72283 infinite.
V_INLINE v16 v_exp(v16 x) {
  const v16 lowest = v_set(-87.33654f), highest = v_set(88.72283f);
  v16 within = v_min(v_max(x, lowest), highest);
  v16 n = v_round(within * v_set(1.44269504f));
  v16 r = v_fma(n, v_set(-0.693359375f), within);
  r = v_fma(n, v_set(2.12194440e-4f), r);
  v16 y = v_set(1.9875691500e-4f);
  y = v_fma(y, r, v_set(1.3981999507e-3f));
  y = v_fma(y, r, v_set(8.3334519073e-3f));
  y = v_fma(y, r, v_set(4.1665795894e-2f));
  y = v_fma(y, r, v_set(1.6666665459e-1f));
  y = v_fma(y, r, v_set(5.0000001201e-1f));
  y = v_fma(y, r * r, r) + v_set(1.0f);
  // In two steps, as 2^128 is no float.
  i16x whole = __builtin_convertvector(n, i16x);
  i16x half = whole >> 1;
  y = y * (v16)((half + 127) << 23) * (v16)((whole - half + 127) << 23);
  y = v_select(x < lowest, v_set(0), y);
  y = v_select(x > highest, v_set(__builtin_inff()), y);
  return v_select(x == x, y, x);
}

V_INLINE v16 v_silu(v16 x) { return x / (v_set(1.0f) + v_exp(-x)); }

V_INLINE v16 v_tanh(v16 x) {
  v16 size = v_abs(x), z = x * x;
  v16 y = v_set(-5.70498872745e-3f);
  y = v_fma(y, z, v_set(2.06390887954e-2f));
  y = v_fma(y, z, v_set(-5.37397155531e-2f));
  y = v_fma(y, z, v_set(1.33314422036e-1f));
  y = v_fma(y, z, v_set(-3.33332819422e-1f));
  v16 near = v_fma(y * z, x, x);
  v16 far = v_set(1.0f) - v_set(2.0f) / (v_exp(size + size) + v_set(1.0f));
  far = (v16)((i16x)far | ((i16x)x & v_set_int((int32_t)0x80000000)));
  return v_select(size < v_set(0.625f), near, far);
}

V_INLINE v16 v_erf(v16 x) {
  v16 size = v_abs(x), z = x * x;
  v16 y = v_set(7.853861353153693e-5f);
  y = v_fma(y, z, v_set(-8.010193625184903e-4f));
  y = v_fma(y, z, v_set(5.188327685732524e-3f));
  y = v_fma(y, z, v_set(-2.685381193529856e-2f));
  y = v_fma(y, z, v_set(1.128358514861418e-1f));
  y = v_fma(y, z, v_set(-3.761262582423300e-1f));
  y = v_fma(y, z, v_set(1.128379167095513f));
  v16 near = x * y;
  v16 t = v_set(1.0f) / v_fma(v_set(0.5f), size, v_set(1.0f));
  v16 p = v_set(0.11836344748735428f);
  p = v_fma(p, t, v_set(-0.4678642451763153f));
  p = v_fma(p, t, v_set(0.5584667325019836f));
  p = v_fma(p, t, v_set(-0.09979954361915588f));
  p = v_fma(p, t, v_set(0.34599947929382324f));
  p = v_fma(p, t, v_set(0.2601962387561798f));
  p = v_fma(p, t, v_set(0.28483331203460693f));
  p = v_fma(p, t, v_set(-0.00014892715262249112f));
  v16 far = v_set(1.0f) - v_exp(-z) * p;
  far = (v16)((i16x)far | ((i16x)x & v_set_int((int32_t)0x80000000)));
  return v_select(size < v_set(1.0f), near, far);
}

V_INLINE v16 v_gelu_tanh(v16 x) {
  v16 inner = x * v_fma(v_set(0.0356774081f), x * x, v_set(0.7978845608f));
  return v_set(0.5f) * x * (v_set(1.0f) + v_tanh(inner));
}

V_INLINE v16 v_gelu_erf(v16 x) {
  return v_set(0.5f) * x * (v_set(1.0f) + v_erf(x * v_set(0.70710678f)));
}

V_INLINE v16 v_soft_cap(v16 x, float cap) { return v_set(cap) * v_tanh(x / v_set(cap)); }

V_INLINE float pk_exp(float x) { return v_exp(v_set(x))[0]; }

#endif
