// What the kernels take of an operating system: threads that sleep until a word changes. No C
// library is linked: of Linux its calls alone, pthread_create and the like are found in the process
// when it loads us.
#ifndef PK_SYSTEM_H
#define PK_SYSTEM_H
#include <stdint.h>

struct pk_thread {
  uint64_t handle;
};

// 0 when the thread runs. It ends when `body` returns.
int pk_thread_start(struct pk_thread* thread, void* (*body)(void*), void* argument);
void pk_thread_join(struct pk_thread* thread);

// Sleeps while *word is `value`; may return early.
void pk_wait(volatile uint32_t* word, uint32_t value);
void pk_wake_all(volatile uint32_t* word);

static inline void pk_pause(void) {
#if defined(__x86_64__)
  __asm__ __volatile__("pause" ::: "memory");
#elif defined(__aarch64__)
  __asm__ __volatile__("isb" ::: "memory");
#endif
}

#endif
