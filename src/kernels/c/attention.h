// Attention over pages: storing keys and values, and what a few rows see of them. Knows no threads.
#ifndef PK_ATTENTION_H
#define PK_ATTENTION_H
#include "program.h"

// Positions that are summed up by themselves, beginning at multiples; part of the arithmetic.
enum { PK_CHUNK = 256 };
// Queries (rows times heads that share keys) that are worth having together.
enum { PK_QUERIES = 32 };

// Where a block's keys and values of one session lie.
struct pk_kv {
  const struct pk_attention* shape;
  const uint64_t* pages;
  uint64_t offset;         // of the block in each page
  int32_t page_positions;
};

uint64_t pk_kv_head_bytes(int32_t kv_type, int32_t dim, int32_t page_positions);

// Norms and turns a head of queries or keys at `position`, in place.
void pk_prepare_head(const struct pk_attention* shape, float* head, const float* norm,
                     int32_t position);
// Stores a head's key or value.
void pk_store_key(const struct pk_kv* kv, int32_t head, int32_t position, const float* key);
void pk_store_value(const struct pk_kv* kv, int32_t head, int32_t position, const float* value);

// Rows of consecutive positions, and the heads of queries that share one of keys.
struct pk_queries {
  const float* q;   // the first row's first query
  int64_t stride;   // floats between rows
  int32_t rows, position;  // of the first row
  int32_t kv_head;
};

// Floats of what one query has seen: largest score, sum, values.
int32_t pk_seen_floats(int32_t dim);
// Chunks [first, end) that any of the rows sees.
void pk_chunks(const struct pk_attention* shape, int32_t position, int32_t rows, int32_t* first,
               int32_t* end);
uint64_t pk_attention_scratch(const struct pk_attention* shape);

// What each query sees of one chunk, pk_seen_floats() apart: row by row, head by head. Of queries
// that see nothing of it the sum is 0.
void pk_see_chunk(const struct pk_kv* kv, const struct pk_queries* queries, int32_t chunk,
                  float* seen, void* scratch);
// Joins a later chunk to what a query has seen before it; the first one by itself is 0 in sum.
void pk_join(float* seen, const float* later, int32_t dim);
// The result of a query, (dim), of head `head`.
void pk_finish(const struct pk_attention* shape, int32_t head, float* seen, float* out);

#endif
