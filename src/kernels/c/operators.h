// Operations on single rows; each is defined in arithmetic.ts. None knows threads or programs.
#ifndef PK_OPERATORS_H
#define PK_OPERATORS_H
#include <stdint.h>

// x (width) += branch, unless that is null; out = norm(x). A bias makes it a layer norm. May be in
// place.
void pk_norm_row(float* x, const float* branch, const float* weight, const float* bias, float eps,
                 int32_t width, float* out);

// The first `rotary` values of a head are turned; cosines and sines (rotary / 2) of its position.
void pk_turn(float* head, const float* cosines, const float* sines, int32_t rotary);

// Values [first, end) of out, of an `enum pk_activation`; gated kinds find up `width` behind gate
// in x.
void pk_activate(int32_t kind, const float* x, float* out, int32_t width, int32_t first, int32_t end);

void pk_add(float* into, const float* from, int32_t width);
// into = fma(from, factor, into)
void pk_add_times(float* into, const float* from, float factor, int32_t width);
void pk_scale(float* x, float factor, int32_t width);
void pk_soft_cap(float* x, float cap, int32_t width);

// The `chosen` largest of scores (count), largest first, and their shares.
void pk_route(const float* scores, int32_t count, int32_t chosen, int32_t shares_of_all,
              int32_t* numbers, float* shares);

int32_t pk_all_finite(const float* x, int32_t width);

#endif
