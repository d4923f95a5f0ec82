// Runs a program: one operation after another, each dealt out over the pool's threads.
#include "executor.h"
#include "attention.h"
#include "gradients.h"
#include "operators.h"
#include <stddef.h>

enum { COLUMNS_AT_A_TIME = 512 };

static uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }

// Rows that lie at multiples of 4 KiB would push each other out of the first cache.
static uint64_t row_bytes(int32_t width) {
  uint64_t bytes = pk_aligned((uint64_t)width * 4);
  return bytes % 2048 == 0 ? bytes + 64 : bytes;
}

static int32_t keeps(const struct pk_program* program, int32_t value) {
  return program->kept && program->kept[value];
}

int32_t pk_takes_rounded(const struct pk_program* program, const struct pk_matrix* matrices,
                         int32_t count) {
  if (program->float_activations) return 0;
  for (int32_t i = 0; i < count; i++) {
    if (pk_takes_int8(matrices[i].form)) return 1;
  }
  return 0;
}

int32_t pk_grain(const struct pk_context* context, int32_t items, int32_t shares) {
  int32_t grain = items / (pk_pool_threads(context->pool) * shares);
  return grain < 1 ? 1 : grain;
}

// Multiplications of a thread between two looks at `abort`: about 2 ms.
static const int64_t WORK_AT_A_TIME = 1 << 26;

struct part {
  struct pk_context* context;
  pk_job job;
  int32_t from;
};

static void part_job(void* argument, int32_t first, int32_t end, int32_t thread) {
  const struct part* part = argument;
  part->job(part->context, part->from + first, part->from + end, thread);
}

void pk_run_items(struct pk_context* context, pk_job job, int32_t items, int32_t grain, int64_t work) {
  const struct pk_batch* batch = context->batch;
  if (!batch->done || !batch->abort) {
    pk_pool_run(context->pool, job, context, items, grain);
    return;
  }
  int32_t threads = pk_pool_threads(context->pool);
  int64_t most = WORK_AT_A_TIME / (work < 1 ? 1 : work);
  int32_t each = most < 1 ? 1 : most > items ? items : (int32_t)most;
  struct part part = {context, job, context->from};
  context->from = 0;
  while (part.from < items) {
    int32_t left = items - part.from, count = left / threads < each ? left : each * threads;
    pk_pool_run(context->pool, part_job, &part, count, grain < each ? grain : each);
    part.from += count;
    if (part.from < items && *batch->abort) {
      context->from = part.from;
      context->stopped = 1;
      return;
    }
  }
}

static struct pk_layout layout_of(const struct pk_program* program, int32_t threads) {
  struct pk_layout layout = {0};
  uint64_t rows = (uint64_t)program->max_rows, at = 0;
  uint64_t xq = 0, scratch = pk_scratch_bytes(), items = 0, experts = 0;
  for (int32_t i = 0; i < program->ops; i++) {
    const struct pk_op* op = &program->op[i];
    const struct pk_matrix* matrices = op->p[0];
    const struct pk_attention* shape = op->p[0];
    if (op->code == PK_MATMUL && pk_takes_rounded(program, matrices, op->i[0])) {
      xq = most(xq, pk_xq_bytes(program->widths[op->v[0]]));
    } else if (op->code == PK_ATTENTION) {
      scratch = most(scratch, pk_attention_thread_bytes(shape));
      items = most(items, (uint64_t)pk_attention_items(program, shape));
      layout.partial_room = (int64_t)most((uint64_t)layout.partial_room, (uint64_t)pk_attention_partials(shape));
    } else if (op->code == PK_EXPERTS) {
      xq = most(xq, pk_xq_bytes(program->widths[op->v[0]]));
      experts = most(experts, pk_experts_bytes(program, op));
    } else {
      if (op->code == PK_EXPERTS_BACK) experts = most(experts, pk_experts_bytes(program, op));
      scratch = most(scratch, pk_gradient_thread_bytes(program, op));
    }
  }
  layout.values = at;
  at += pk_aligned(sizeof(struct pk_value) * (uint64_t)program->values);
  for (int32_t i = PK_OUT + 1; i < program->values; i++) {
    if (keeps(program, i)) continue;
    at += row_bytes(program->widths[i]) * rows;
  }
  layout.xq = at;
  at += pk_aligned(xq * rows);
  layout.scratch = at;
  layout.scratch_each = pk_aligned(scratch) + 64;
  at += layout.scratch_each * (uint64_t)threads;
  layout.items = at;
  layout.item_room = (int32_t)items;
  at += pk_aligned(pk_attention_item_bytes() * items);
  layout.partials = at;
  at += pk_aligned((uint64_t)layout.partial_room * 4);
  layout.experts = at;
  layout.total = at + experts;
  return layout;
}

uint64_t pk_arena_bytes(const struct pk_program* program, int32_t threads) {
  return layout_of(program, threads).total;
}

static void lay_values(struct pk_context* context) {
  const struct pk_program* program = context->program;
  char* at = context->arena + context->layout.values +
             pk_aligned(sizeof(struct pk_value) * (uint64_t)program->values);
  char* kept = context->batch->kept;
  for (int32_t i = 0; i < program->values; i++) {
    struct pk_value* value = &context->values[i];
    uint64_t bytes = row_bytes(program->widths[i]);
    if (i == PK_RESULT || i == PK_OUT) {
      value->at = i == PK_RESULT ? context->batch->result : context->batch->out;
      value->stride = program->widths[i];
    } else if (keeps(program, i)) {
      value->at = (float*)kept;
      value->stride = (int64_t)bytes / 4;
      kept += bytes * (uint64_t)context->batch->rows;
    } else {
      value->at = (float*)at;
      value->stride = (int64_t)bytes / 4;
      at += bytes * (uint64_t)program->max_rows;
    }
  }
}

static void round_rows(struct pk_context* context, int32_t value, int32_t first, int32_t end) {
  int32_t width = context->program->widths[value];
  char* xq = context->arena + context->layout.xq + (uint64_t)first * pk_xq_bytes(width);
  pk_quantise_rows(pk_row(context, value, first), context->values[value].stride, end - first, width,
                   xq);
}

// Whether the next operation is a product that takes `value` rounded: then its writer rounds it.
static int32_t is_rounded_next(const struct pk_context* context, int32_t value) {
  const struct pk_program* program = context->program;
  const struct pk_op* next = context->op + 1;
  if (next >= program->op + program->ops || next->v[0] != value) return 0;
  if (next->code == PK_MATMUL) return pk_takes_rounded(program, next->p[0], next->i[0]);
  if (next->code != PK_EXPERTS) return 0;
  const struct pk_experts* experts = next->p[0];
  return pk_takes_rounded(program, experts->gate_up, 1);
}

static void norm_rows(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct pk_op* op = context->op;
  for (int32_t row = first; row < end; row++) {
    const float* branch = op->v[2] < 0 ? NULL : pk_row(context, op->v[2], row);
    pk_norm_row(pk_row(context, op->v[0], row), branch, op->p[0], op->p[1], op->f[0],
                context->program->widths[op->v[0]], pk_row(context, op->v[1], row));
  }
  if (context->rounds) round_rows(context, op->v[1], first, end);
}

static void run_norm(struct pk_context* context) {
  int32_t rows = context->batch->rows, out = context->op->v[1];
  context->rounds = is_rounded_next(context, out);
  pk_pool_run(context->pool, norm_rows, context, rows, pk_grain(context, rows, 4));
  context->rounded = context->rounds ? out : PK_NONE;
}

static void round_job(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  round_rows(context, context->op->v[0], first, end);
}

// Items are groups of all matrices behind each other.
static void matmul_job(void* argument, int32_t first, int32_t end, int32_t thread) {
  struct pk_context* context = argument;
  const struct pk_op* op = context->op;
  const struct pk_matrix* matrices = op->p[0];
  const struct pk_value *in = &context->values[op->v[0]], *out = &context->values[op->v[1]];
  int32_t rows = context->batch->rows, group = 0, column = 0;
  const void* xq = context->rounded < 0 ? NULL : context->arena + context->layout.xq;
  for (int32_t i = 0; i < op->i[0]; i++) {
    const struct pk_matrix* matrix = &matrices[i];
    int32_t groups = (matrix->rows + PK_GROUP - 1) / PK_GROUP;
    int32_t from = first > group ? first - group : 0;
    int32_t to = end - group < groups ? end - group : groups;
    if (from < to) {
      pk_matmul(matrix, in->at, in->stride, pk_takes_int8(matrix->form) ? xq : NULL,
                out->at + column, out->stride, rows, from, to, pk_scratch_of(context, thread));
      if (op->v[2] >= 0) {
        int32_t begin = from * PK_GROUP;
        int32_t stop = to * PK_GROUP < matrix->rows ? to * PK_GROUP : matrix->rows;
        for (int32_t row = 0; row < rows; row++) {
          pk_add(pk_row(context, op->v[2], row) + column + begin,
                 pk_row(context, op->v[1], row) + column + begin, stop - begin);
        }
      }
    }
    group += groups;
    column += matrix->rows;
  }
}

static void run_matmul(struct pk_context* context) {
  const struct pk_op* op = context->op;
  const struct pk_matrix* matrices = op->p[0];
  int32_t rows = context->batch->rows, groups = 0;
  for (int32_t i = 0; i < op->i[0]; i++) groups += (matrices[i].rows + PK_GROUP - 1) / PK_GROUP;
  if (!pk_takes_rounded(context->program, matrices, op->i[0])) {
    context->rounded = PK_NONE;
  } else if (context->rounded != op->v[0]) {
    pk_pool_run(context->pool, round_job, context, rows, pk_grain(context, rows, 4));
    context->rounded = op->v[0];
  }
  int64_t work = (int64_t)rows * matrices[0].columns * PK_GROUP;
  pk_run_items(context, matmul_job, groups, pk_grain(context, groups, 8), work);
  if (context->rounded == op->v[1] || context->rounded == op->v[2]) context->rounded = PK_NONE;
}

static void activate_rows(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct pk_op* op = context->op;
  int32_t width = context->program->widths[op->v[1]];
  for (int32_t row = first; row < end; row++) {
    pk_activate(op->i[0], pk_row(context, op->v[0], row), pk_row(context, op->v[1], row), width, 0,
                width);
  }
  if (context->rounds) round_rows(context, op->v[1], first, end);
}

static void activate_columns(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct pk_op* op = context->op;
  int32_t width = context->program->widths[op->v[1]];
  int32_t pieces = (width + COLUMNS_AT_A_TIME - 1) / COLUMNS_AT_A_TIME;
  for (int32_t item = first; item < end; item++) {
    int32_t row = item / pieces, begin = item % pieces * COLUMNS_AT_A_TIME;
    int32_t stop = begin + COLUMNS_AT_A_TIME < width ? begin + COLUMNS_AT_A_TIME : width;
    pk_activate(op->i[0], pk_row(context, op->v[0], row), pk_row(context, op->v[1], row), width,
                begin, stop);
  }
}

static void run_activate(struct pk_context* context) {
  const struct pk_op* op = context->op;
  int32_t rows = context->batch->rows, out = op->v[1];
  context->rounds = is_rounded_next(context, out);
  if (rows >= pk_pool_threads(context->pool)) {
    pk_pool_run(context->pool, activate_rows, context, rows, pk_grain(context, rows, 4));
    context->rounded = context->rounds ? out : PK_NONE;
    return;
  }
  int32_t width = context->program->widths[out];
  int32_t pieces = rows * ((width + COLUMNS_AT_A_TIME - 1) / COLUMNS_AT_A_TIME);
  pk_pool_run(context->pool, activate_columns, context, pieces, pk_grain(context, pieces, 2));
  context->rounded = PK_NONE;
}

static void simple_rows(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct pk_op* op = context->op;
  int32_t width = context->program->widths[op->v[0]];
  for (int32_t row = first; row < end; row++) {
    float* x = pk_row(context, op->v[0], row);
    if (op->code == PK_ADD) pk_add(x, pk_row(context, op->v[1], row), width);
    else if (op->code == PK_SOFT_CAP) pk_soft_cap(x, op->f[0], width);
    else pk_scale(x, op->f[0], width);
  }
}

static void run_simple(struct pk_context* context) {
  int32_t rows = context->batch->rows;
  pk_pool_run(context->pool, simple_rows, context, rows, pk_grain(context, rows, 4));
  if (context->rounded == context->op->v[0]) context->rounded = PK_NONE;
}

static void check_rows(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  int32_t bad = 0;
  for (int32_t row = first; row < end; row++) {
    for (int32_t value = PK_RESULT; value <= PK_OUT; value++) {
      if (!context->values[value].at) continue;
      bad |= !pk_all_finite(pk_row(context, value, row), context->program->widths[value]);
    }
  }
  if (bad) __atomic_store_n(&context->bad, 1, __ATOMIC_RELAXED);
}

static void copy_rows(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  int32_t width = context->program->widths[PK_RESULT];
  for (int32_t row = first; row < end; row++) {
    const float* from = context->batch->hidden + (int64_t)row * width;
    __builtin_memcpy(pk_row(context, PK_RESULT, row), from, (uint64_t)width * 4);
  }
}

static int32_t fits(const struct pk_program* program, const struct pk_batch* batch) {
  if (batch->rows < 1 || batch->rows > program->max_rows) return 0;
  if (batch->first_block < 0 || batch->end_block > program->blocks) return 0;
  if (batch->first_block >= batch->end_block) return 0;
  if (program->widths[PK_OUT] > 0 && !batch->out) return 0;
  for (int32_t i = 0; i < program->values; i++) {
    if (keeps(program, i) && !batch->kept) return 0;
  }
  int32_t rows = 0, longest = 0;
  for (int32_t i = 0; i < batch->segments; i++) {
    const struct pk_segment* segment = &batch->segment[i];
    int64_t end = (int64_t)segment->position + segment->rows;
    if (segment->rows < 1 || segment->position < 0 || end > INT32_MAX) return 0;
    if (segment->first_row != rows) return 0;
    if (segment->kv_block < 0 || segment->kv_block > batch->first_block) return 0;
    int64_t held = (int64_t)segment->page_count * program->page_positions;
    if (program->page_positions > 0 && end > held) return 0;
    if (program->page_positions == 0 && segment->position != 0) return 0;
    rows += segment->rows;
    if (end > longest) longest = (int32_t)end;
  }
  for (int32_t i = program->block_op[batch->first_block]; i < program->block_op[batch->end_block];
       i++) {
    int32_t code = program->op[i].code;
    if (code != PK_ATTENTION && code != PK_TURN) continue;
    const struct pk_attention* shape = program->op[i].p[0];
    if (rows != batch->rows) return 0;
    if (shape->rotary > 0 && longest > shape->rope_positions) return 0;
  }
  return 1;
}

int32_t pk_run(const struct pk_program* program, const struct pk_batch* batch, void* arena,
               struct pk_pool* pool) {
  if (program->magic != PK_MAGIC || program->version != PK_PROGRAM_VERSION) return PK_BAD_PROGRAM;
  if (!fits(program, batch)) return PK_BAD_BATCH;
  struct pk_context context = {0};
  context.program = program;
  context.batch = batch;
  context.pool = pool;
  context.layout = layout_of(program, pk_pool_threads(pool));
  context.arena = arena;
  context.values = (struct pk_value*)((char*)arena + context.layout.values);
  context.rounded = PK_NONE;
  lay_values(&context);
  int32_t done = batch->done ? batch->done[0] : 0;
  context.from = batch->done ? batch->done[1] : 0;
  if (done < 0 || context.from < 0 || done > program->block_op[batch->end_block] - program->block_op[batch->first_block]) {
    return PK_BAD_BATCH;
  }
  if (done == 0 && context.from == 0 && batch->hidden != batch->result) {
    pk_pool_run(pool, copy_rows, &context, batch->rows, pk_grain(&context, batch->rows, 1));
  }
  const struct pk_op* end = program->op + program->block_op[batch->end_block];
  const struct pk_op* first = program->op + program->block_op[batch->first_block];
  for (const struct pk_op* op = first + done; op < end; op++) {
    if (batch->abort && *batch->abort) {
      if (batch->done) batch->done[0] = (int32_t)(op - first), batch->done[1] = context.from;
      return PK_ABORTED;
    }
    context.op = op;
    switch (op->code) {
      case PK_NORM:
        run_norm(&context);
        break;
      case PK_MATMUL:
        run_matmul(&context);
        break;
      case PK_ATTENTION:
        pk_run_attention(&context);
        break;
      case PK_ACTIVATE:
        run_activate(&context);
        break;
      case PK_EXPERTS:
        pk_run_experts(&context);
        break;
      case PK_ADD:
      case PK_SOFT_CAP:
      case PK_SCALE:
        run_simple(&context);
        break;
      case PK_ADAPT:
        pk_run_adapt(&context);
        break;
      case PK_PROMPT:
        pk_run_prompt(&context);
        break;
      default:
        if (!pk_run_gradient(&context)) return PK_BAD_PROGRAM;
    }
    if (context.stopped) {
      batch->done[0] = (int32_t)(op - first), batch->done[1] = context.from;
      return PK_ABORTED;
    }
  }
  pk_pool_run(pool, check_rows, &context, batch->rows, pk_grain(&context, batch->rows, 1));
  return context.bad ? PK_NOT_FINITE : PK_DONE;
}

int32_t pk_copy_page(const struct pk_program* program, int32_t first_block, int32_t end_block,
                     const void* from, void* to, int32_t positions) {
  if (first_block < 0 || end_block > program->blocks || positions > program->page_positions) {
    return PK_BAD_BATCH;
  }
  // Whole: what lies behind the positions is not looked at, and is small.
  uint64_t first = program->block_kv[first_block], end = program->block_kv[end_block];
  __builtin_memcpy(to, from, end - first);
  return PK_DONE;
}
