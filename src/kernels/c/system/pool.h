// A pool of threads that work on one job after another: items [0, count), dealt out a few at a
// time.
#ifndef PK_POOL_H
#define PK_POOL_H
#include <stdint.h>

struct pk_pool;

// Items [first, end) by `thread`, a number below the pool's threads that no other one has at the
// time.
typedef void (*pk_job)(void* context, int32_t first, int32_t end, int32_t thread);

// Threads - 1 new ones beside the caller's; fewer when the system refuses. Null when all pools are
// taken.
struct pk_pool* pk_pool_open(int32_t threads);
void pk_pool_close(struct pk_pool* pool);
int32_t pk_pool_threads(const struct pk_pool* pool);

// Returns when all items are done. `grain` items are taken at a time.
void pk_pool_run(struct pk_pool* pool, pk_job job, void* context, int32_t count, int32_t grain);

#endif
