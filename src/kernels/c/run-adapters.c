// What adapters add, each row with those of its own session: low-rank products, and prompts to the
// rows that enter a block.
#include "gradients.h"
#include "operators.h"

enum { ROWS_AT_A_TIME = 24, COLUMNS_AT_A_TIME = 512, FEW_PRODUCTS = 32768 };

// Rows behind each other whose sessions have the same additions.
struct group {
  const struct pk_addition* addition;
  int32_t first, rows;
};

// Finds the next group from a segment on; the segment behind it, or 0 if there is none.
static int32_t next_group(const struct pk_context* context, int32_t from, struct group* group) {
  const struct pk_batch* batch = context->batch;
  while (from < batch->segments) {
    const struct pk_segment* segment = &batch->segment[from++];
    const struct pk_addition* additions = segment->additions;
    if (!additions || additions[context->op->i[0]].count == 0) continue;
    group->addition = &additions[context->op->i[0]];
    group->first = segment->first_row;
    group->rows = segment->rows;
    while (from < batch->segments && batch->segment[from].additions == additions) {
      group->rows += batch->segment[from++].rows;
    }
    return from;
  }
  return 0;
}

static int32_t pieces_of(int32_t count, int32_t each) { return (count + each - 1) / each; }

static float* low_at(const struct pk_context* context, int32_t row, int64_t column) {
  return context->batch->low + row * context->batch->low_stride + column;
}

static void down(const struct pk_context* context, const struct group* group, int32_t piece,
                 int32_t number) {
  const struct pk_lora *loras = group->addition->at, *lora = &loras[number];
  int32_t row = group->first + piece * ROWS_AT_A_TIME, left = group->first + group->rows - row;
  int64_t column = 0;
  for (int32_t i = 0; i < number; i++) column += loras[i].stride;
  const struct pk_value* in = &context->values[context->op->v[0]];
  // Whole vectors: what fills them up is zeros.
  struct pk_chains product = {
      .rows = left < ROWS_AT_A_TIME ? left : ROWS_AT_A_TIME, .columns = lora->stride,
      .length = lora->inputs, .a = in->at + row * in->stride, .ai = in->stride, .al = 1,
      .b = lora->a_turned, .bl = lora->stride,
      .c = low_at(context, row, column), .ci = context->batch->low_stride};
  pk_chain(&product);
  for (int32_t i = 0; i < product.rows; i++) {
    pk_scale(low_at(context, row + i, column), lora->scale, lora->rank);
  }
}

static void up(const struct pk_context* context, const struct group* group, int32_t piece,
               int32_t begin, int32_t end) {
  const struct pk_lora* loras = group->addition->at;
  int32_t row = group->first + piece * ROWS_AT_A_TIME, left = group->first + group->rows - row;
  const struct pk_value* out = &context->values[context->op->v[1]];
  int64_t column = 0;
  for (int64_t i = 0; i < group->addition->count; column += loras[i].stride, i++) {
    const struct pk_lora* lora = &loras[i];
    int32_t from = begin > lora->column ? begin - lora->column : 0;
    int32_t to = end - lora->column < lora->outputs ? end - lora->column : lora->outputs;
    if (from >= to) continue;
    struct pk_chains product = {
        .rows = left < ROWS_AT_A_TIME ? left : ROWS_AT_A_TIME, .columns = to - from,
        .length = lora->rank, .a = low_at(context, row, column),
        .ai = context->batch->low_stride, .al = 1, .b = lora->b_turned + from, .bl = lora->outputs,
        .c = out->at + row * out->stride + lora->column + from, .ci = out->stride, .adds = 1};
    pk_chain(&product);
  }
}

// Items: for each group, pieces of its rows times its additions (down) or columns (up).
static void adapt(struct pk_context* context, int32_t is_up, int32_t first, int32_t end) {
  struct group group;
  int32_t width = context->program->widths[context->op->v[1]], base = 0;
  for (int32_t from = 0; base < end && (from = next_group(context, from, &group));) {
    int32_t each = is_up ? pieces_of(width, COLUMNS_AT_A_TIME) : (int32_t)group.addition->count;
    int32_t count = pieces_of(group.rows, ROWS_AT_A_TIME) * each;
    int32_t to = end - base < count ? end - base : count;
    for (int32_t item = first > base ? first - base : 0; item < to; item++) {
      int32_t column = item % each * COLUMNS_AT_A_TIME, stop = column + COLUMNS_AT_A_TIME;
      if (is_up) up(context, &group, item / each, column, stop < width ? stop : width);
      else down(context, &group, item / each, item % each);
    }
    base += count;
  }
}

static void down_job(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  adapt(argument, 0, first, end);
}

static void up_job(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  adapt(argument, 1, first, end);
}

void pk_run_adapt(struct pk_context* context) {
  struct group group;
  int32_t columns = pieces_of(context->program->widths[context->op->v[1]], COLUMNS_AT_A_TIME);
  int32_t downs = 0, ups = 0;
  int64_t down_products = 0, up_products = 0;
  for (int32_t from = 0; (from = next_group(context, from, &group));) {
    int32_t pieces = pieces_of(group.rows, ROWS_AT_A_TIME);
    const struct pk_lora* loras = group.addition->at;
    downs += pieces * (int32_t)group.addition->count;
    ups += pieces * columns;
    for (int64_t i = 0; i < group.addition->count; i++) {
      down_products += (int64_t)group.rows * loras[i].inputs * loras[i].stride;
      up_products += (int64_t)group.rows * loras[i].outputs * loras[i].rank;
    }
  }
  if (downs == 0) return;
  // Little work is done sooner than other threads are woken.
  pk_pool_run(context->pool, down_job, context, downs, down_products < FEW_PRODUCTS ? downs : 1);
  pk_pool_run(context->pool, up_job, context, ups, up_products < FEW_PRODUCTS ? ups : 1);
  if (context->rounded == context->op->v[1]) context->rounded = PK_NONE;
}

void pk_run_prompt(struct pk_context* context) {
  const struct pk_op* op = context->op;
  const struct pk_batch* batch = context->batch;
  int32_t width = context->program->widths[op->v[0]];
  for (int32_t i = 0; i < batch->segments; i++) {
    const struct pk_segment* segment = &batch->segment[i];
    if (!segment->additions) continue;
    const struct pk_addition* addition = &segment->additions[op->i[0]];
    const float* prompt = addition->at;
    for (int32_t row = 0; row < segment->rows && segment->position + row < addition->count; row++) {
      pk_add(pk_row(context, op->v[0], segment->first_row + row),
             prompt + (int64_t)(segment->position + row) * width, width);
    }
  }
  if (context->rounded == op->v[0]) context->rounded = PK_NONE;
}
