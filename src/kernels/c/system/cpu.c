// What the processor and the system permit; asked of the plain library, before another one is
// loaded.
#include "cpu.h"

#if defined(__x86_64__)

static void cpuid(uint32_t leaf, uint32_t part, uint32_t out[4]) {
  __asm__ __volatile__("cpuid"
                       : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
                       : "a"(leaf), "c"(part));
}

static uint64_t saved_states(void) {
  uint32_t low, high;
  __asm__ __volatile__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

static int has(uint32_t word, int bit) { return word >> bit & 1; }

#if defined(__linux__)
// The kernel keeps a process's tiles only when it was asked to.
static int may_use_tiles(void) {
  enum { SYS_ARCH_PRCTL = 158, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
  long result;
  __asm__ __volatile__("syscall"
                       : "=a"(result)
                       : "a"((long)SYS_ARCH_PRCTL), "D"((long)REQUEST_PERMISSION), "S"((long)TILE_DATA)
                       : "rcx", "r11", "memory");
  return result == 0;
}
#else
static int may_use_tiles(void) { return 0; }
#endif

int32_t pk_cpu(void) {
  uint32_t top[4], one[4], seven[4];
  int32_t found = PK_CPU_PLAIN;
  cpuid(0, 0, top);
  cpuid(1, 0, one);
  if (top[0] < 7 || !has(one[2], 27)) return found;
  cpuid(7, 0, seven);
  uint64_t states = saved_states();
  int avx2 = has(one[2], 28) && has(seven[1], 5) && has(one[2], 12) && has(one[2], 29) &&
             has(one[2], 22) && has(seven[1], 3) && has(seven[1], 8) && (states & 0x6) == 0x6;
  if (!avx2) return found;
  found |= PK_CPU_AVX2;
  int avx512 = has(seven[1], 16) && has(seven[1], 17) && has(seven[1], 28) && has(seven[1], 30) &&
               has(seven[1], 31) && has(seven[2], 11) && (states & 0xe6) == 0xe6;
  if (!avx512) return found;
  found |= PK_CPU_AVX512;
  int amx = has(seven[3], 24) && has(seven[3], 25) && (states & 0x60000) == 0x60000;
  if (amx && may_use_tiles()) found |= PK_CPU_AMX;
  return found;
}

#else

int32_t pk_cpu(void) { return PK_CPU_PLAIN; }

#endif
