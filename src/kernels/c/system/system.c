// Threads and sleep, for Linux, macOS and Windows.
#include "system.h"

#if defined(_WIN32)

__declspec(dllimport) void* CreateThread(void*, uint64_t, unsigned long (*)(void*), void*,
                                         unsigned long, unsigned long*);
__declspec(dllimport) unsigned long WaitForSingleObject(void*, unsigned long);
__declspec(dllimport) int CloseHandle(void*);
__declspec(dllimport) void* LoadLibraryA(const char*);
__declspec(dllimport) void* GetProcAddress(void*, const char*);
__declspec(dllimport) void Sleep(unsigned long);

typedef int (*wait_function)(volatile void*, void*, uint64_t, unsigned long);
typedef void (*wake_function)(void*);

static void* found(const char* name) {
  return GetProcAddress(LoadLibraryA("api-ms-win-core-synch-l1-2-0.dll"), name);
}

int pk_thread_start(struct pk_thread* thread, void* (*body)(void*), void* argument) {
  // The result is not looked at, so that its width does not matter.
  void* handle = CreateThread(0, 1 << 20, (unsigned long (*)(void*))(void*)body, argument, 0, 0);
  thread->handle = (uint64_t)handle;
  return handle ? 0 : -1;
}

void pk_thread_join(struct pk_thread* thread) {
  WaitForSingleObject((void*)thread->handle, 0xffffffff);
  CloseHandle((void*)thread->handle);
}

void pk_wait(volatile uint32_t* word, uint32_t value) {
  static wait_function wait;
  if (!wait) wait = (wait_function)found("WaitOnAddress");
  if (wait) wait(word, &value, 4, 0xffffffff);
  else Sleep(1);
}

void pk_wake_all(volatile uint32_t* word) {
  static wake_function wake;
  if (!wake) wake = (wake_function)found("WakeByAddressAll");
  if (wake) wake((void*)word);
}

#else

extern int pthread_create(void*, const void*, void* (*)(void*), void*) __attribute__((weak));
extern int pthread_join(void*, void**) __attribute__((weak));

#if defined(__APPLE__)

extern int pthread_sigmask(int, const void*, void*) __attribute__((weak));
extern int __ulock_wait(uint32_t, void*, uint64_t, uint32_t) __attribute__((weak));
extern int __ulock_wake(uint32_t, void*, uint64_t) __attribute__((weak));
enum { COMPARE_AND_WAIT = 1, WAKE_ALL = 0x100 };

static void block_signals(void* before) {
  uint32_t all = 0xffffffff;
  pthread_sigmask(1, &all, before);
}
static void restore_signals(const void* before) { pthread_sigmask(3, before, 0); }

void pk_wait(volatile uint32_t* word, uint32_t value) {
  __ulock_wait(COMPARE_AND_WAIT, (void*)word, value, 0);
}
void pk_wake_all(volatile uint32_t* word) {
  __ulock_wake(COMPARE_AND_WAIT | WAKE_ALL, (void*)word, 0);
}

#else

#if defined(__x86_64__)
enum { SYS_FUTEX = 202, SYS_SIGPROCMASK = 14 };
static long call(long number, long a, long b, long c, long d) {
  long result;
  register long fourth __asm__("r10") = d;
  __asm__ __volatile__("syscall"
                       : "=a"(result)
                       : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth)
                       : "rcx", "r11", "memory");
  return result;
}
#elif defined(__aarch64__)
enum { SYS_FUTEX = 98, SYS_SIGPROCMASK = 135 };
static long call(long number, long a, long b, long c, long d) {
  register long result __asm__("x0") = a;
  register long second __asm__("x1") = b;
  register long third __asm__("x2") = c;
  register long fourth __asm__("x3") = d;
  register long which __asm__("x8") = number;
  __asm__ __volatile__("svc 0"
                       : "+r"(result)
                       : "r"(second), "r"(third), "r"(fourth), "r"(which)
                       : "memory");
  return result;
}
#endif
enum { WAIT_PRIVATE = 128, WAKE_PRIVATE = 129 };

static void block_signals(void* before) {
  uint64_t all = ~(uint64_t)0;
  call(SYS_SIGPROCMASK, 2, (long)&all, (long)before, 8);
}
static void restore_signals(const void* before) {
  call(SYS_SIGPROCMASK, 2, (long)before, 0, 8);
}

void pk_wait(volatile uint32_t* word, uint32_t value) {
  call(SYS_FUTEX, (long)word, WAIT_PRIVATE, value, 0);
}
void pk_wake_all(volatile uint32_t* word) {
  call(SYS_FUTEX, (long)word, WAKE_PRIVATE, 0x7fffffff, 0);
}

#endif

int pk_thread_start(struct pk_thread* thread, void* (*body)(void*), void* argument) {
  if (!pthread_create || !pthread_join) return -1;
  // A new thread inherits the mask: no handler of the runtime's may run on a thread of ours.
  uint64_t before[2] = {0, 0};
  block_signals(before);
  int failed = pthread_create(&thread->handle, 0, body, argument);
  restore_signals(before);
  return failed;
}

void pk_thread_join(struct pk_thread* thread) { pthread_join((void*)thread->handle, 0); }

#endif
