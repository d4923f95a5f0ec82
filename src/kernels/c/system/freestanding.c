// What compilers call by themselves and a C library would have. Hidden, so that nobody else's take
// over.
#include <stddef.h>
#include <stdint.h>

#define HIDDEN __attribute__((visibility("hidden"), used, noinline))

#if defined(__x86_64__)

HIDDEN void* memcpy(void* to, const void* from, size_t count) {
  void* result = to;
  __asm__ __volatile__("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  return result;
}

HIDDEN void* memset(void* to, int value, size_t count) {
  void* result = to;
  __asm__ __volatile__("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
  return result;
}

#else

// The compiler must not find again in these loops what they stand for.
#define STEP __asm__ __volatile__("" ::: "memory")

HIDDEN void* memcpy(void* to, const void* from, size_t count) {
  uint8_t* a = to;
  const uint8_t* b = from;
  typedef uint64_t word __attribute__((may_alias, aligned(1)));
  for (; count >= 8; count -= 8, a += 8, b += 8) {
    *(word*)a = *(const word*)b;
    STEP;
  }
  for (; count > 0; count--) {
    *a++ = *b++;
    STEP;
  }
  return to;
}

HIDDEN void* memset(void* to, int value, size_t count) {
  uint8_t* a = to;
  typedef uint64_t word __attribute__((may_alias, aligned(1)));
  uint64_t eight = 0x0101010101010101u * (uint8_t)value;
  for (; count >= 8; count -= 8, a += 8) {
    *(word*)a = eight;
    STEP;
  }
  for (; count > 0; count--) {
    *a++ = (uint8_t)value;
    STEP;
  }
  return to;
}

#endif

HIDDEN void* memmove(void* to, const void* from, size_t count) {
  if ((uintptr_t)to - (uintptr_t)from >= count) return memcpy(to, from, count);
  for (; count > 0; count--) {
    ((uint8_t*)to)[count - 1] = ((const uint8_t*)from)[count - 1];
    __asm__ __volatile__("" ::: "memory");
  }
  return to;
}

#if defined(_WIN32)

int _DllMainCRTStartup(void* module, unsigned long reason, void* reserved) {
  (void)module;
  (void)reason;
  (void)reserved;
  return 1;
}
int _fltused = 0;

#if defined(__x86_64__)
// Touches each page of a large frame (rax bytes) from above, so that the system makes them one by
// one.
__asm__(
    ".globl ___chkstk_ms\n"
    "___chkstk_ms:\n"
    "  push %rcx\n"
    "  push %rax\n"
    "  lea 24(%rsp), %rcx\n"
    "1:\n"
    "  cmp $0x1000, %rax\n"
    "  jb 2f\n"
    "  sub $0x1000, %rcx\n"
    "  orq $0, (%rcx)\n"
    "  sub $0x1000, %rax\n"
    "  jmp 1b\n"
    "2:\n"
    "  sub %rax, %rcx\n"
    "  orq $0, (%rcx)\n"
    "  pop %rax\n"
    "  pop %rcx\n"
    "  ret\n");
#endif

#endif
