// Instruction sets that may be used here.
#ifndef PK_CPU_H
#define PK_CPU_H
#include <stdint.h>

enum {
  PK_CPU_PLAIN = 1,
  PK_CPU_AVX2 = 2,    // with FMA, F16C, BMI and MOVBE
  PK_CPU_AVX512 = 4,  // F, CD, BW, DQ, VL and VNNI
  PK_CPU_AMX = 8,     // int8 tiles, permitted by the system
  PK_CPU_NEON = 16,   // arm64's dot products of int8
  PK_CPU_I8MM = 32    // and its products of int8 matrices
};

// A sum of the above.
int32_t pk_cpu(void);

#endif
