// Instruction sets that may be used here.
#ifndef PK_CPU_H
#define PK_CPU_H
#include <stdint.h>

enum {
  PK_CPU_PLAIN = 1,
  PK_CPU_AVX2 = 2,    // with FMA, F16C, BMI and MOVBE
  PK_CPU_AVX512 = 4,  // F, CD, BW, DQ, VL and VNNI
  PK_CPU_AMX = 8      // int8 tiles, permitted by the system
};

// A sum of the above; of arm64 what is beyond the plain ones only the system can tell.
int32_t pk_cpu(void);

#endif
