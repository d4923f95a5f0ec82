// Attention of a run: rows of all segments, dealt out by rows, by heads of keys, and, where that is
// too little for the threads, by chunks of positions, whose parts are joined in order afterwards.
#include "attention.h"
#include "executor.h"
#include <stddef.h>

// Chunks of single rows that may be dealt out at once: of one row up to position 131,072.
enum { MOST_SPLIT = 512 };

// Rows of a segment that are taken together, over chunks [chunk, end).
struct item {
  int32_t segment, row, rows, kv_head, chunk, end;
  int32_t chunks;  // of all items of these rows
  int64_t partial;  // floats into the partials, or -1 when the item has all chunks
};

struct detail {
  const struct pk_attention* shape;
  struct item* items;
  int32_t count;
};

static int32_t rows_at_a_time(const struct pk_attention* shape) {
  int32_t rows = PK_QUERIES / (shape->heads / shape->kv_heads);
  return rows < 1 ? 1 : rows;
}

static int32_t most_queries(const struct pk_attention* shape) {
  return rows_at_a_time(shape) * (shape->heads / shape->kv_heads);
}

int32_t pk_attention_items(const struct pk_program* program, const struct pk_attention* shape) {
  return (program->max_rows + MOST_SPLIT) * shape->kv_heads;
}

uint64_t pk_attention_item_bytes(void) { return sizeof(struct item); }

int64_t pk_attention_partials(const struct pk_attention* shape) {
  return (int64_t)MOST_SPLIT * shape->heads * pk_seen_floats(shape->dim);
}

uint64_t pk_attention_thread_bytes(const struct pk_attention* shape) {
  uint64_t seen = 4 * (uint64_t)pk_seen_floats(shape->dim) * (uint64_t)most_queries(shape);
  return pk_attention_scratch(shape) + 2 * seen;
}

static struct pk_kv kv_of(const struct pk_context* context, const struct pk_attention* shape,
                          const struct pk_segment* segment) {
  struct pk_kv kv;
  kv.shape = shape;
  kv.pages = segment->pages;
  kv.offset = shape->kv_offset - context->program->block_kv[segment->kv_block];
  kv.page_positions = context->program->page_positions;
  return kv;
}

static const struct pk_segment* segment_at(const struct pk_batch* batch, int32_t row) {
  int32_t low = 0, high = batch->segments - 1;
  while (low < high) {
    int32_t middle = (low + high + 1) / 2;
    if (batch->segment[middle].first_row <= row) low = middle;
    else high = middle - 1;
  }
  return &batch->segment[low];
}

// Items: every head of queries, keys and values, and of each all rows.
static void prepare(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  const struct pk_attention* shape = detail->shape;
  const struct pk_batch* batch = context->batch;
  int32_t rows = batch->rows, heads = shape->heads, kv_heads = shape->kv_heads;
  for (int32_t item = first; item < end; item++) {
    int32_t head = item / rows, row = item % rows;
    const struct pk_segment* segment = segment_at(batch, row);
    int32_t position = segment->position + row - segment->first_row;
    float* at = pk_row(context, context->op->v[0], row) + (int64_t)head * shape->dim;
    if (head < heads) {
      pk_prepare_head(shape, at, shape->query_norm, position);
      continue;
    }
    struct pk_kv kv = kv_of(context, shape, segment);
    if (head < heads + kv_heads) {
      pk_prepare_head(shape, at, shape->key_norm, position);
      pk_store_key(&kv, head - heads, position, at);
    } else {
      pk_store_value(&kv, head - heads - kv_heads, position, at);
    }
  }
}

static void finish_rows(struct pk_context* context, const struct item* item, float* seen) {
  const struct pk_attention* shape = ((const struct detail*)context->detail)->shape;
  int32_t group = shape->heads / shape->kv_heads, stride = pk_seen_floats(shape->dim);
  for (int32_t at = 0; at < item->rows * group; at++) {
    int32_t head = item->kv_head * group + at % group;
    float* out = pk_row(context, context->op->v[1], item->row + at / group);
    pk_finish(shape, head, seen + (int64_t)at * stride, out + (int64_t)head * shape->dim);
  }
}

static void see(void* argument, int32_t first, int32_t end, int32_t thread) {
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  const struct pk_attention* shape = detail->shape;
  int32_t group = shape->heads / shape->kv_heads, stride = pk_seen_floats(shape->dim);
  float* seen = pk_scratch_of(context, thread);
  float* later = seen + (int64_t)most_queries(shape) * stride;
  float* rest = later + (int64_t)most_queries(shape) * stride;
  for (int32_t i = first; i < end; i++) {
    const struct item* item = &detail->items[i];
    const struct pk_segment* segment = &context->batch->segment[item->segment];
    struct pk_kv kv = kv_of(context, shape, segment);
    struct pk_queries queries;
    queries.q = pk_row(context, context->op->v[0], item->row);
    queries.stride = context->values[context->op->v[0]].stride;
    queries.rows = item->rows;
    queries.position = segment->position + item->row - segment->first_row;
    queries.kv_head = item->kv_head;
    int32_t count = item->rows * group;
    if (item->partial >= 0) {
      float* partial = (float*)(context->arena + context->layout.partials) + item->partial;
      for (int32_t chunk = item->chunk; chunk < item->end; chunk++) {
        pk_see_chunk(&kv, &queries, chunk, partial, rest);
        partial += (int64_t)count * stride;
      }
      continue;
    }
    for (int32_t chunk = item->chunk; chunk < item->end; chunk++) {
      if (chunk == item->chunk) {
        pk_see_chunk(&kv, &queries, chunk, seen, rest);
        continue;
      }
      pk_see_chunk(&kv, &queries, chunk, later, rest);
      for (int32_t at = 0; at < count; at++) {
        pk_join(seen + (int64_t)at * stride, later + (int64_t)at * stride, shape->dim);
      }
    }
    finish_rows(context, item, seen);
  }
}

// Of items that begin a row: joins all parts.
static void join(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  const struct pk_attention* shape = detail->shape;
  int32_t group = shape->heads / shape->kv_heads, stride = pk_seen_floats(shape->dim);
  for (int32_t i = first; i < end; i++) {
    const struct item* item = &detail->items[i];
    if (item->partial < 0 || item->chunks == 0) continue;
    float* seen = (float*)(context->arena + context->layout.partials) + item->partial;
    int64_t size = (int64_t)item->rows * group * stride;
    for (int32_t chunk = 1; chunk < item->chunks; chunk++) {
      for (int64_t at = 0; at < size; at += stride) {
        pk_join(seen + at, seen + chunk * size + at, shape->dim);
      }
    }
    finish_rows(context, item, seen);
  }
}

// Fills in the items; whether any is split.
static int32_t deal(struct pk_context* context, struct detail* detail) {
  const struct pk_attention* shape = detail->shape;
  const struct pk_batch* batch = context->batch;
  int32_t together = rows_at_a_time(shape), threads = pk_pool_threads(context->pool);
  int32_t group = shape->heads / shape->kv_heads, stride = pk_seen_floats(shape->dim);
  int64_t work = 0;
  for (int32_t s = 0; s < batch->segments; s++) {
    const struct pk_segment* segment = &batch->segment[s];
    for (int32_t row = 0; row < segment->rows; row += together) {
      int32_t rows = segment->rows - row < together ? segment->rows - row : together;
      int32_t chunk, end;
      pk_chunks(shape, segment->position + row, rows, &chunk, &end);
      work += (int64_t)(end - chunk) * rows * shape->kv_heads;
    }
  }
  int64_t share = work / (threads * 4) + 1, used = 0;
  int32_t count = 0, splits = 0;
  // The last rows see the most: they begin.
  for (int32_t s = batch->segments - 1; s >= 0; s--) {
    const struct pk_segment* segment = &batch->segment[s];
    for (int32_t row = (segment->rows - 1) / together * together; row >= 0; row -= together) {
      int32_t rows = segment->rows - row < together ? segment->rows - row : together;
      int32_t chunk, end;
      pk_chunks(shape, segment->position + row, rows, &chunk, &end);
      int32_t each = (int32_t)(share / rows) < 1 ? 1 : (int32_t)(share / rows);
      int64_t room = (int64_t)(end - chunk) * rows * group * stride;
      for (int32_t head = 0; head < shape->kv_heads; head++) {
        struct item item = {s, segment->first_row + row, rows, head, chunk, end, 0, PK_NONE};
        int32_t pieces = (end - chunk + each - 1) / each;
        int32_t left = (batch->segments + batch->rows) * shape->kv_heads;
        if (threads == 1 || pieces < 2 || used + room > context->layout.partial_room ||
            count + pieces + left > detail->count) {
          detail->items[count++] = item;
          continue;
        }
        for (int32_t at = chunk; at < end; at += each) {
          item.chunk = at;
          item.end = end - at < each ? end : at + each;
          item.chunks = at == chunk ? end - chunk : 0;
          item.partial = used + (int64_t)(at - chunk) * rows * group * stride;
          detail->items[count++] = item;
        }
        used += room;
        splits = 1;
      }
    }
  }
  detail->count = count;
  return splits;
}

void pk_run_attention(struct pk_context* context) {
  struct detail detail;
  detail.shape = context->op->p[0];
  detail.items = (struct item*)(context->arena + context->layout.items);
  detail.count = context->layout.item_room;
  context->detail = &detail;
  int32_t heads = detail.shape->heads + 2 * detail.shape->kv_heads;
  int32_t all = heads * context->batch->rows;
  pk_pool_run(context->pool, prepare, context, all, pk_grain(context, all, 4));
  int32_t splits = deal(context, &detail);
  pk_pool_run(context->pool, see, context, detail.count, pk_grain(context, detail.count, 16));
  if (splits) pk_pool_run(context->pool, join, context, detail.count, 1);
  context->rounded = PK_NONE;
}
