// A mixture of experts: a router chooses a few for each row; rows are laid together by expert, so
// that every matrix is read once for all of its rows, and their results are summed up in each row's
// own order.
#include "executor.h"
#include "gradients.h"
#include "operators.h"
#include <stddef.h>

// Memory of an operation, for max_rows.
struct memory {
  float *scores, *shares, *wide, *narrow, *down;
  int32_t *numbers, *places, *sources, *begins;
  char *xq, *narrow_xq;
  // Backwards: gradients of what `down`, `narrow` and `wide` hold, of their rows of x, and of
  // scores and shares.
  float *down_gradient, *narrow_gradient, *wide_gradient, *x_gradient, *score_gradient, *share_gradient;
  uint64_t total;
};

static int32_t padded(int32_t width) { return (width + 15) / 16 * 16; }
static int32_t ffn_of(const struct pk_experts* experts) { return experts->down[0].columns; }

static struct memory lay(const struct pk_program* program, const struct pk_op* op, char* at) {
  const struct pk_experts* experts = op->p[0];
  uint64_t rows = (uint64_t)program->max_rows, picks = rows * (uint64_t)experts->chosen;
  int32_t width = program->widths[op->v[0]], ffn = ffn_of(experts);
  struct memory memory;
  char* begin = at;
#define TAKE(name, bytes)         \
  memory.name = (void*)at;        \
  at += pk_aligned((uint64_t)(bytes))
  TAKE(scores, 4 * rows * (uint64_t)padded(experts->count));
  TAKE(shares, 4 * picks);
  TAKE(numbers, 4 * picks);
  TAKE(places, 4 * picks);
  TAKE(sources, 4 * picks);
  TAKE(begins, 4 * (uint64_t)(experts->count + 1));
  TAKE(xq, picks * (pk_takes_rounded(program, experts->gate_up, 1) ? pk_xq_bytes(width)
                                                                     : 4 * (uint64_t)padded(width)));
  TAKE(wide, 4 * picks * (uint64_t)(2 * padded(ffn) + 16));
  TAKE(narrow, 4 * picks * (uint64_t)padded(ffn));
  TAKE(narrow_xq, picks * pk_xq_bytes(ffn));
  TAKE(down, 4 * picks * (uint64_t)padded(width));
  if (op->code == PK_EXPERTS_BACK) {
    TAKE(down_gradient, 4 * picks * (uint64_t)padded(width));
    TAKE(narrow_gradient, 4 * picks * (uint64_t)padded(ffn));
    TAKE(wide_gradient, 4 * picks * (uint64_t)(2 * padded(ffn) + 16));
    TAKE(x_gradient, 4 * picks * (uint64_t)padded(width));
    TAKE(score_gradient, 4 * rows * (uint64_t)padded(experts->count));
    TAKE(share_gradient, 4 * picks);
  }
#undef TAKE
  memory.total = (uint64_t)(at - begin);
  return memory;
}

uint64_t pk_experts_bytes(const struct pk_program* program, const struct pk_op* op) {
  return lay(program, op, NULL).total;
}

struct detail {
  const struct pk_experts* experts;
  struct memory memory;
  int32_t width, ffn, picks;
  int32_t rounded;  // whether experts take rounded rows
};

static void route_rows(void* argument, int32_t first, int32_t end, int32_t thread) {
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  const struct pk_experts* experts = detail->experts;
  const struct pk_value* in = &context->values[context->op->v[0]];
  int32_t stride = padded(experts->count), chosen = experts->chosen;
  const void* xq = NULL;
  if (context->rounded >= 0 && pk_takes_int8(experts->router->form)) {
    xq = context->arena + context->layout.xq + (uint64_t)first * pk_xq_bytes(detail->width);
  }
  pk_matmul(experts->router, in->at + first * in->stride, in->stride, xq,
            detail->memory.scores + (int64_t)first * stride, stride, end - first, 0,
            (experts->count + PK_GROUP - 1) / PK_GROUP, pk_scratch_of(context, thread));
  for (int32_t row = first; row < end; row++) {
    pk_route(detail->memory.scores + (int64_t)row * stride, experts->count, chosen,
             experts->shares_of_all, detail->memory.numbers + row * chosen,
             detail->memory.shares + row * chosen);
  }
}

// Sorts the picks by expert: sources of each place, places of each pick.
static void sort(const struct pk_context* context, struct detail* detail) {
  const struct pk_experts* experts = detail->experts;
  struct memory* memory = &detail->memory;
  int32_t place = 0;
  detail->picks = context->batch->rows * experts->chosen;
  for (int32_t i = 0; i <= experts->count; i++) memory->begins[i] = 0;
  for (int32_t pick = 0; pick < detail->picks; pick++) memory->begins[memory->numbers[pick]]++;
  for (int32_t i = 0; i <= experts->count; i++) {
    int32_t rows = memory->begins[i];
    memory->begins[i] = place;
    place += rows;
  }
  for (int32_t pick = 0; pick < detail->picks; pick++) {
    int32_t at = memory->begins[memory->numbers[pick]]++;
    memory->places[pick] = at;
    memory->sources[at] = pick / experts->chosen;
  }
  for (int32_t i = experts->count; i > 0; i--) memory->begins[i] = memory->begins[i - 1];
  memory->begins[0] = 0;
}

static void copy_rows(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  int32_t in = context->op->v[0];
  uint64_t size = pk_xq_bytes(detail->width);
  for (int32_t at = first; at < end; at++) {
    int32_t row = detail->memory.sources[at];
    if (detail->rounded) {
      __builtin_memcpy(detail->memory.xq + (uint64_t)at * size,
                       context->arena + context->layout.xq + (uint64_t)row * size, size);
    } else {
      __builtin_memcpy((float*)detail->memory.xq + (int64_t)at * padded(detail->width),
                       pk_row(context, in, row), (uint64_t)detail->width * 4);
    }
  }
}

// Items are groups of all experts' matrices behind each other; experts without rows have none.
static void multiply(struct pk_context* context, const struct pk_matrix* matrices, int32_t first,
                     int32_t end, int32_t thread, int32_t isDown) {
  const struct detail* detail = context->detail;
  const struct memory* memory = &detail->memory;
  int32_t groups = (matrices[0].rows + PK_GROUP - 1) / PK_GROUP;
  int32_t ldx = isDown ? padded(detail->ffn) : padded(detail->width);
  int32_t ldy = isDown ? padded(detail->width) : 2 * padded(detail->ffn) + 16;
  uint64_t xq_bytes = pk_xq_bytes(isDown ? detail->ffn : detail->width);
  int32_t group = 0;
  for (int32_t expert = 0; expert < detail->experts->count && group < end; expert++) {
    int32_t begin = memory->begins[expert], rows = memory->begins[expert + 1] - begin;
    if (rows == 0) continue;
    int32_t from = first > group ? first - group : 0;
    int32_t to = end - group < groups ? end - group : groups;
    group += groups;
    if (from >= to) continue;
    const struct pk_matrix* matrix = &matrices[expert];
    const float* x = isDown ? memory->narrow : (const float*)memory->xq;
    const char* xq = isDown ? memory->narrow_xq : memory->xq;
    float* y = isDown ? memory->down : memory->wide;
    int32_t rounded = detail->rounded && pk_takes_int8(matrix->form);
    pk_matmul(matrix, x + (int64_t)begin * ldx, ldx,
              rounded ? xq + (uint64_t)begin * xq_bytes : NULL, y + (int64_t)begin * ldy, ldy, rows,
              from, to, pk_scratch_of(context, thread));
  }
}

static void multiply_wide(void* argument, int32_t first, int32_t end, int32_t thread) {
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  multiply(context, detail->experts->gate_up, first, end, thread, 0);
}

static void multiply_down(void* argument, int32_t first, int32_t end, int32_t thread) {
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  multiply(context, detail->experts->down, first, end, thread, 1);
}

static void activate(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  const struct memory* memory = &detail->memory;
  int32_t ffn = detail->ffn, wide = 2 * padded(ffn) + 16, narrow = padded(ffn);
  for (int32_t at = first; at < end; at++) {
    pk_activate(detail->experts->activation, memory->wide + (int64_t)at * wide,
                memory->narrow + (int64_t)at * narrow, ffn, 0, ffn);
  }
  if (!detail->rounded) return;
  pk_quantise_rows(memory->narrow + (int64_t)first * narrow, narrow, end - first, ffn,
                   memory->narrow_xq + (uint64_t)first * pk_xq_bytes(ffn));
}

static void sum_rows(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  const struct pk_op* op = context->op;
  int32_t chosen = detail->experts->chosen, width = detail->width;
  for (int32_t row = first; row < end; row++) {
    float* out = pk_row(context, op->v[1], row);
    for (int32_t i = 0; i < width; i++) out[i] = 0;
    for (int32_t pick = row * chosen; pick < (row + 1) * chosen; pick++) {
      const float* down = detail->memory.down + (int64_t)detail->memory.places[pick] * padded(width);
      pk_add_times(out, down, detail->memory.shares[pick], width);
    }
    if (op->v[2] >= 0) pk_add(pk_row(context, op->v[2], row), out, width);
  }
}

static void round_rows(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  int32_t in = context->op->v[0], width = context->program->widths[in];
  pk_quantise_rows(pk_row(context, in, first), context->values[in].stride, end - first, width,
                   context->arena + context->layout.xq + (uint64_t)first * pk_xq_bytes(width));
}

// Chooses experts and runs them, up to what each gives; returns how many have rows.
static int32_t run_chosen(struct pk_context* context, struct detail* detail) {
  const struct pk_op* op = context->op;
  detail->experts = op->p[0];
  detail->memory = lay(context->program, op, context->arena + context->layout.experts);
  detail->width = context->program->widths[op->v[0]];
  detail->ffn = ffn_of(detail->experts);
  detail->rounded = pk_takes_rounded(context->program, detail->experts->gate_up, 1);
  context->detail = detail;
  int32_t rows = context->batch->rows;
  struct pk_pool* pool = context->pool;
  if (detail->rounded && context->rounded != op->v[0]) {
    pk_pool_run(pool, round_rows, context, rows, pk_grain(context, rows, 4));
    context->rounded = op->v[0];
  }
  pk_pool_run(pool, route_rows, context, rows, pk_grain(context, rows, 4));
  sort(context, detail);
  pk_pool_run(pool, copy_rows, context, detail->picks, pk_grain(context, detail->picks, 4));
  int32_t active = 0;
  for (int32_t i = 0; i < detail->experts->count; i++) {
    active += detail->memory.begins[i + 1] > detail->memory.begins[i];
  }
  int32_t wide = active * ((detail->experts->gate_up[0].rows + PK_GROUP - 1) / PK_GROUP);
  int32_t down = active * ((detail->width + PK_GROUP - 1) / PK_GROUP);
  pk_pool_run(pool, multiply_wide, context, wide, pk_grain(context, wide, 8));
  pk_pool_run(pool, activate, context, detail->picks, pk_grain(context, detail->picks, 4));
  pk_pool_run(pool, multiply_down, context, down, pk_grain(context, down, 8));
  return active;
}

void pk_run_experts(struct pk_context* context) {
  struct detail detail;
  run_chosen(context, &detail);
  int32_t rows = context->batch->rows;
  pk_pool_run(context->pool, sum_rows, context, rows, pk_grain(context, rows, 4));
  context->rounded = PK_NONE;
}

// Gradients of each row's shares and scores, and of what its experts gave.
static void rows_back(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  const struct memory* memory = &detail->memory;
  const struct pk_experts* experts = detail->experts;
  int32_t chosen = experts->chosen, width = detail->width, stride = padded(experts->count);
  for (int32_t row = first; row < end; row++) {
    const float* gradient = pk_row(context, context->op->v[1], row);
    for (int32_t pick = row * chosen; pick < (row + 1) * chosen; pick++) {
      int64_t at = (int64_t)memory->places[pick] * padded(width);
      memory->share_gradient[pick] = pk_share_back(memory->down + at, gradient, memory->shares[pick], width,
                                                   memory->down_gradient + at);
    }
    pk_route_back(memory->scores + (int64_t)row * stride, experts->count, chosen, experts->shares_of_all,
                  memory->numbers + row * chosen, memory->shares + row * chosen,
                  memory->share_gradient + row * chosen, memory->score_gradient + (int64_t)row * stride);
  }
}

// Items: PK_TURNED columns of an expert's input each, of all experts behind each other.
static void multiply_back(struct pk_context* context, const struct pk_matrix* matrices, int32_t first,
                          int32_t end, int32_t thread, int32_t isDown) {
  const struct detail* detail = context->detail;
  const struct memory* memory = &detail->memory;
  int32_t wide = 2 * padded(detail->ffn) + 16, narrow = padded(detail->ffn), width = padded(detail->width);
  int32_t ldg = isDown ? width : wide, ldo = isDown ? narrow : width;
  const float* gradient = isDown ? memory->down_gradient : memory->wide_gradient;
  float* out = isDown ? memory->narrow_gradient : memory->x_gradient;
  int32_t items = (matrices[0].columns + PK_TURNED - 1) / PK_TURNED, item = 0;
  for (int32_t expert = 0; expert < detail->experts->count && item < end; expert++) {
    int32_t begin = memory->begins[expert], rows = memory->begins[expert + 1] - begin;
    if (rows == 0) continue;
    for (int32_t i = 0; i < items; i++, item++) {
      if (item < first || item >= end) continue;
      pk_matmul_back(&matrices[expert], i * PK_TURNED, rows, gradient + (int64_t)begin * ldg, ldg,
                     out + (int64_t)begin * ldo, ldo, 0, pk_scratch_of(context, thread));
    }
  }
}

static void down_back(void* argument, int32_t first, int32_t end, int32_t thread) {
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  multiply_back(context, detail->experts->down, first, end, thread, 1);
}

static void wide_back(void* argument, int32_t first, int32_t end, int32_t thread) {
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  multiply_back(context, detail->experts->gate_up, first, end, thread, 0);
}

static void activate_back(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  const struct memory* memory = &detail->memory;
  int32_t ffn = detail->ffn, wide = 2 * padded(ffn) + 16, narrow = padded(ffn);
  for (int32_t at = first; at < end; at++) {
    pk_activate_back(detail->experts->activation, memory->wide + (int64_t)at * wide,
                     memory->narrow_gradient + (int64_t)at * narrow,
                     memory->wide_gradient + (int64_t)at * wide, ffn);
  }
}

// What a row's experts say of its x, in the row's order.
static void sum_back(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  const struct pk_op* op = context->op;
  int32_t chosen = detail->experts->chosen, width = detail->width;
  for (int32_t row = first; row < end; row++) {
    float* out = pk_row(context, op->v[2], row);
    for (int32_t i = 0; op->i[0] == 0 && i < width; i++) out[i] = 0;
    for (int32_t pick = row * chosen; pick < (row + 1) * chosen; pick++) {
      pk_add(out, detail->memory.x_gradient + (int64_t)detail->memory.places[pick] * padded(width), width);
    }
  }
}

// The router's part is added last.
static void router_back(void* argument, int32_t first, int32_t end, int32_t thread) {
  struct pk_context* context = argument;
  const struct detail* detail = context->detail;
  const struct pk_value* out = &context->values[context->op->v[2]];
  for (int32_t item = first; item < end; item++) {
    pk_matmul_back(detail->experts->router, item * PK_TURNED, context->batch->rows,
                   detail->memory.score_gradient, padded(detail->experts->count), out->at, out->stride, 1,
                   pk_scratch_of(context, thread));
  }
}

void pk_run_experts_back(struct pk_context* context) {
  struct detail detail;
  int32_t active = run_chosen(context, &detail), rows = context->batch->rows;
  struct pk_pool* pool = context->pool;
  int32_t narrow = (detail.ffn + PK_TURNED - 1) / PK_TURNED, wide = (detail.width + PK_TURNED - 1) / PK_TURNED;
  pk_pool_run(pool, rows_back, context, rows, pk_grain(context, rows, 4));
  pk_pool_run(pool, down_back, context, active * narrow, 1);
  pk_pool_run(pool, activate_back, context, detail.picks, pk_grain(context, detail.picks, 4));
  pk_pool_run(pool, wide_back, context, active * wide, 1);
  pk_pool_run(pool, sum_back, context, rows, pk_grain(context, rows, 4));
  pk_pool_run(pool, router_back, context, wide, 1);
  context->rounded = PK_NONE;
}
