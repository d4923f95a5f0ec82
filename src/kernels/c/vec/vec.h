// Vectors of the instruction set that the compiler was told: PK_W columns each, 16 a group.
#ifndef PK_VEC_H
#define PK_VEC_H
#include "../products/kinds.h"

#define PK_DO_PRAGMA(text) _Pragma(#text)
#ifdef __clang__
#define PK_UNROLL PK_DO_PRAGMA(clang loop unroll(full))
#else
#define PK_UNROLL PK_DO_PRAGMA(GCC unroll 16)
#endif

#if defined(PK_PLAIN)
#include "vec-plain.h"
#elif defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#include "vec-avx512.h"
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "vec-avx2.h"
#elif defined(__ARM_FEATURE_DOTPROD)
#include "vec-neon.h"
#else
#include "vec-plain.h"
#endif
#endif
