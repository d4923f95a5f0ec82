// The pool: whoever runs a job deals its items from one word, which holds the job's number and the
// next item, so that a thread that comes late takes nothing of a job that has ended. Nobody waits
// for threads that took nothing: one that the system has put aside holds up no more than its own
// items.
#include "pool.h"
#include "system.h"
#include <stddef.h>

enum { MAX_POOLS = 64, MAX_THREADS = 256, JOBS = 8 };

// How long a thread looks for work before it sleeps: some 20 to 40 us, longer than most pauses
// inside of a run, and short enough that other threads of a busy machine do not miss the core.
#if defined(__x86_64__)
enum { SPINS = 1000 };
#else
enum { SPINS = 1500 };
#endif

struct job {
  pk_job run;
  void* context;
  uint32_t count, grain;
  uint32_t done;
  uint32_t waited;  // 1: whoever ends the job wakes the one that runs it
};

struct worker {
  struct pk_pool* pool;
  int32_t number;
  struct pk_thread thread;
};

struct pk_pool {
  uint64_t ticket;  // number of the job << 32 | its next item
  uint8_t apart[56];
  struct job jobs[JOBS];
  uint32_t sleepers, quits, taken;
  int32_t threads;
  struct worker workers[MAX_THREADS];
} __attribute__((aligned(128)));

// Not memory of the caller's: a thread that still sleeps when its owner has gone must not lose it.
static struct pk_pool pools[MAX_POOLS];

#define LOAD(at) __atomic_load_n(&(at), __ATOMIC_SEQ_CST)
#define STORE(at, value) __atomic_store_n(&(at), value, __ATOMIC_SEQ_CST)

// The number is the word's upper half: all targets are little endian.
static volatile uint32_t* number_of(struct pk_pool* pool) { return (uint32_t*)&pool->ticket + 1; }

// Takes items of the job that is being run until there are none; 1 when it took any.
static int take(struct pk_pool* pool, int32_t thread) {
  int took = 0;
  uint64_t ticket = LOAD(pool->ticket);
  for (;;) {
    struct job* job = &pool->jobs[(ticket >> 32) % JOBS];
    uint32_t next = (uint32_t)ticket;
    uint32_t count = __atomic_load_n(&job->count, __ATOMIC_RELAXED);
    uint32_t grain = __atomic_load_n(&job->grain, __ATOMIC_RELAXED);
    pk_job run = __atomic_load_n(&job->run, __ATOMIC_RELAXED);
    void* context = __atomic_load_n(&job->context, __ATOMIC_RELAXED);
    if (next >= count) return took;
    uint32_t end = count - next < grain ? count : next + grain;
    // Where the word has changed, what was read may be of another job.
    if (!__atomic_compare_exchange_n(&pool->ticket, &ticket, (ticket & ~(uint64_t)0xffffffff) | end,
                                     0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
      continue;
    }
    run(context, (int32_t)next, (int32_t)end, thread);
    took = 1;
    uint32_t done = __atomic_add_fetch(&job->done, end - next, __ATOMIC_SEQ_CST);
    if (done == count && LOAD(job->waited)) pk_wake_all(&job->done);
    ticket = LOAD(pool->ticket);
  }
}

static void* work(void* argument) {
  struct worker* worker = argument;
  struct pk_pool* pool = worker->pool;
  while (!LOAD(pool->quits)) {
    uint32_t number = *number_of(pool);
    take(pool, worker->number);
    int spins = 0;
    while (*number_of(pool) == number && !LOAD(pool->quits)) {
      if (++spins < SPINS) {
        pk_pause();
        continue;
      }
      __atomic_add_fetch(&pool->sleepers, 1, __ATOMIC_SEQ_CST);
      if (LOAD(*number_of(pool)) == number && !LOAD(pool->quits)) pk_wait(number_of(pool), number);
      __atomic_sub_fetch(&pool->sleepers, 1, __ATOMIC_SEQ_CST);
    }
  }
  return NULL;
}

static void publish(struct pk_pool* pool) {
  uint64_t number = (LOAD(pool->ticket) >> 32) + 1;
  STORE(pool->ticket, (number & 0xffffffff) << 32);
  if (LOAD(pool->sleepers)) pk_wake_all(number_of(pool));
}

struct pk_pool* pk_pool_open(int32_t threads) {
  if (threads < 1) threads = 1;
  if (threads > MAX_THREADS) threads = MAX_THREADS;
  for (int32_t at = 0; at < MAX_POOLS; at++) {
    struct pk_pool* pool = &pools[at];
    if (__atomic_exchange_n(&pool->taken, 1, __ATOMIC_SEQ_CST)) continue;
    for (int32_t i = 0; i < JOBS; i++) pool->jobs[i].count = 0;
    STORE(pool->quits, 0);
    pool->threads = 1;
    while (pool->threads < threads) {
      struct worker* worker = &pool->workers[pool->threads];
      worker->pool = pool;
      worker->number = pool->threads;
      if (pk_thread_start(&worker->thread, work, worker)) break;
      pool->threads++;
    }
    return pool;
  }
  return NULL;
}

void pk_pool_close(struct pk_pool* pool) {
  STORE(pool->quits, 1);
  // An empty job, for those that sleep until there is another.
  STORE(pool->jobs[((LOAD(pool->ticket) >> 32) + 1) % JOBS].count, 0);
  publish(pool);
  pk_wake_all(number_of(pool));
  for (int32_t i = 1; i < pool->threads; i++) pk_thread_join(&pool->workers[i].thread);
  STORE(pool->taken, 0);
}

int32_t pk_pool_threads(const struct pk_pool* pool) { return pool->threads; }

void pk_pool_run(struct pk_pool* pool, pk_job run, void* context, int32_t count, int32_t grain) {
  if (count <= 0) return;
  if (grain < 1) grain = 1;
  if (pool->threads == 1 || count <= grain) {
    run(context, 0, count, 0);
    return;
  }
  struct job* job = &pool->jobs[((LOAD(pool->ticket) >> 32) + 1) % JOBS];
  __atomic_store_n(&job->run, run, __ATOMIC_RELAXED);
  __atomic_store_n(&job->context, context, __ATOMIC_RELAXED);
  __atomic_store_n(&job->count, (uint32_t)count, __ATOMIC_RELAXED);
  __atomic_store_n(&job->grain, (uint32_t)grain, __ATOMIC_RELAXED);
  __atomic_store_n(&job->done, 0, __ATOMIC_RELAXED);
  __atomic_store_n(&job->waited, 0, __ATOMIC_RELAXED);
  publish(pool);
  take(pool, 0);
  for (int spins = 0; LOAD(job->done) != (uint32_t)count; spins++) {
    if (spins < SPINS) {
      pk_pause();
      continue;
    }
    STORE(job->waited, 1);
    uint32_t done = LOAD(job->done);
    if (done != (uint32_t)count) pk_wait(&job->done, done);
  }
}
