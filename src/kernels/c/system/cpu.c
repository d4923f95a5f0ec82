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

#elif defined(__aarch64__)

// Only the system can tell.
#if defined(_WIN32)
__declspec(dllimport) int IsProcessorFeaturePresent(unsigned long);
enum { DOT_PRODUCTS = 43, INT8_MATRICES = 66 };
static int has_dots(void) { return IsProcessorFeaturePresent(DOT_PRODUCTS); }
static int has_matrices(void) { return IsProcessorFeaturePresent(INT8_MATRICES); }
#elif defined(__APPLE__)
extern int sysctlbyname(const char*, void*, unsigned long*, void*, unsigned long) __attribute__((weak));
static int has(const char* name) {
  int32_t value = 0;
  unsigned long size = sizeof value;
  return sysctlbyname && sysctlbyname(name, &value, &size, 0, 0) == 0 && value != 0;
}
// Every Mac has them, also where an old system does not know the name.
static int has_dots(void) { return 1; }
static int has_matrices(void) { return has("hw.optional.arm.FEAT_I8MM"); }
#else
extern unsigned long getauxval(unsigned long) __attribute__((weak));
enum { AT_HWCAP = 16, AT_HWCAP2 = 26, HWCAP_ASIMDDP = 1 << 20, HWCAP2_I8MM = 1 << 13 };
static int has(unsigned long kind, unsigned long bit) { return getauxval && (getauxval(kind) & bit) != 0; }
static int has_dots(void) { return has(AT_HWCAP, HWCAP_ASIMDDP); }
static int has_matrices(void) { return has(AT_HWCAP2, HWCAP2_I8MM); }
#endif

int32_t pk_cpu(void) {
  if (!has_dots()) return PK_CPU_PLAIN;
  return PK_CPU_PLAIN | PK_CPU_NEON | (has_matrices() ? PK_CPU_I8MM : 0);
}

#else

int32_t pk_cpu(void) { return PK_CPU_PLAIN; }

#endif
