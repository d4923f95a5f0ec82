// What the parts of the executor share: a run's values, memory and threads.
#ifndef PK_EXECUTOR_H
#define PK_EXECUTOR_H
#include "system/pool.h"
#include "program.h"

struct pk_value {
  float* at;
  int64_t stride;  // floats between rows
};

// Where everything lies in the arena; the same for every run of a program with so many threads.
struct pk_layout {
  uint64_t values, xq, scratch, scratch_each, items, partials, experts;
  int32_t item_room;   // attention's items
  int64_t partial_room;  // floats
  uint64_t total;
};

struct pk_context {
  const struct pk_program* program;
  const struct pk_batch* batch;
  struct pk_pool* pool;
  struct pk_layout layout;
  char* arena;
  struct pk_value* values;
  const struct pk_op* op;
  // The value whose rounded rows are in `xq`, or -1.
  int32_t rounded;
  // Of the operation that runs.
  const void* detail;
  int32_t rounds;  // 1: each row that is written is rounded, too
  int32_t from;     // items of the operation that an aborted run has done
  int32_t stopped;  // 1: the operation was ended between two items
  uint32_t bad;
};

static inline void* pk_scratch_of(const struct pk_context* context, int32_t thread) {
  return context->arena + context->layout.scratch +
         (uint64_t)thread * context->layout.scratch_each;
}
static inline float* pk_row(const struct pk_context* context, int32_t value, int32_t row) {
  return context->values[value].at + row * context->values[value].stride;
}
static inline uint64_t pk_aligned(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

// Items of a job that one thread takes at a time.
int32_t pk_grain(const struct pk_context* context, int32_t items, int32_t shares);

// Runs a job's items, each of which multiplies `work` times. In a batch that can go on an abort ends
// it between two items, too: a long product would keep whoever aborts waiting.
void pk_run_items(struct pk_context* context, pk_job job, int32_t items, int32_t grain, int64_t work);

// Whether a product with these matrices takes rounded rows.
int32_t pk_takes_rounded(const struct pk_program* program, const struct pk_matrix* matrices,
                         int32_t count);

void pk_run_attention(struct pk_context* context);
void pk_run_experts(struct pk_context* context);
void pk_run_experts_back(struct pk_context* context);
void pk_run_adapt(struct pk_context* context);
void pk_run_prompt(struct pk_context* context);
int32_t pk_attention_items(const struct pk_program* program, const struct pk_attention* shape);
uint64_t pk_attention_item_bytes(void);
int64_t pk_attention_partials(const struct pk_attention* shape);
uint64_t pk_attention_thread_bytes(const struct pk_attention* shape);
uint64_t pk_experts_bytes(const struct pk_program* program, const struct pk_op* op);

#endif
