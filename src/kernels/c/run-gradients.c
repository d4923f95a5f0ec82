// Operations of training over a run's rows, dealt out over the pool's threads.
#include "attention.h"
#include "gradients.h"
#include "operators.h"

enum { PANEL_GROUPS = 8, ROWS_AT_A_TIME = 24, COLUMNS_AT_A_TIME = 256 };

static int32_t width_of(const struct pk_context* context, int32_t value) {
  return context->program->widths[value];
}

// Rows by themselves.
static void row_job(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct pk_op* op = context->op;
  for (int32_t row = first; row < end; row++) {
    float* in = pk_row(context, op->v[0], row);
    float* second = pk_row(context, op->v[1], row);
    if (op->code == PK_COPY) {
      __builtin_memcpy(in, second, (uint64_t)width_of(context, op->v[0]) * 4);
    } else if (op->code == PK_ENTROPY) {
      const int32_t* targets = op->p[0];
      float* facts = (float*)op->p[1];
      int32_t width = width_of(context, op->v[0]), target = targets[row];
      pk_entropy(in, target < width ? target : -1, facts[0], width, second, facts + 2 + 2 * row);
    } else if (op->code == PK_SOFT_CAP_BACK) {
      pk_soft_cap_back(in, op->f[0], width_of(context, op->v[0]), second);
    } else if (op->code == PK_NORM_BACK) {
      pk_norm_back(in, second, op->p[0], op->i[1], op->f[0], width_of(context, op->v[0]), op->i[0],
                   pk_row(context, op->v[2], row));
    } else {
      pk_activate_back(op->i[0], in, second, pk_row(context, op->v[2], row),
                       width_of(context, op->v[1]));
    }
  }
}

static uint32_t mixed(uint32_t value) {
  value = (value ^ value >> 16) * 0x85ebca6bu;
  value = (value ^ value >> 13) * 0xc2b2ae35u;
  return value ^ value >> 16;
}

static void drop_job(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct pk_op* op = context->op;
  const struct pk_dropout* dropout = op->p[0];
  int32_t width = width_of(context, op->v[0]);
  for (int32_t row = first; row < end; row++) {
    const float* in = pk_row(context, op->v[0], row);
    float* out = pk_row(context, op->v[1], row);
    uint32_t seed = mixed(dropout->seeds[row] ^ (uint32_t)op->i[0] * 0x9e3779b9u);
    for (int32_t i = 0; i < width; i++) {
      uint32_t draw = mixed(seed + (uint32_t)i * 0x9e3779b9u);
      float kept = draw < dropout->threshold ? 0 : in[i] * dropout->factor;
      out[i] = op->i[1] ? out[i] + kept : kept;
    }
  }
}

static int32_t position_of(const struct pk_batch* batch, int32_t row) {
  int32_t low = 0, high = batch->segments - 1;
  while (low < high) {
    int32_t middle = (low + high + 1) / 2;
    if (batch->segment[middle].first_row <= row) low = middle;
    else high = middle - 1;
  }
  return row - batch->segment[low].first_row;
}

static void turn_job(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct pk_op* op = context->op;
  const struct pk_attention* shape = op->p[0];
  int32_t width = width_of(context, op->v[0]), dim = shape->dim, turned = shape->heads + shape->kv_heads;
  for (int32_t row = first; row < end; row++) {
    int32_t position = position_of(context->batch, row), half = shape->rotary / 2;
    const float* from = pk_row(context, op->v[0], row);
    float* to = pk_row(context, op->v[op->code == PK_TURN ? 1 : 2], row);
    const float* source = op->code == PK_TURN ? from : pk_row(context, op->v[1], row);
    __builtin_memcpy(to, source, (uint64_t)width * 4);
    for (int32_t head = 0; head < turned; head++) {
      const float* norm = head < shape->heads ? shape->query_norm : shape->key_norm;
      float* at = to + (int64_t)head * dim;
      if (op->code == PK_TURN) {
        pk_prepare_head(shape, at, norm, position);
        continue;
      }
      if (shape->rotary > 0) {
        pk_turn_back(at, shape->rope_cos + (int64_t)position * half,
                     shape->rope_sin + (int64_t)position * half, shape->rotary);
      }
      if (norm) pk_norm_back(from + (int64_t)head * dim, at, norm, 0, shape->norm_eps, dim, 0, at);
    }
  }
}

// Items: heads of each sequence; of keys where gradients are wanted.
static void attend_job(void* argument, int32_t first, int32_t end, int32_t thread) {
  struct pk_context* context = argument;
  const struct pk_op* op = context->op;
  const struct pk_attention* shape = op->p[0];
  int32_t backwards = op->code == PK_ATTEND_BACK, heads = backwards ? shape->kv_heads : shape->heads;
  float* scratch = pk_scratch_of(context, thread);
  for (int32_t item = first; item < end; item++) {
    const struct pk_segment* segment = &context->batch->segment[item / heads];
    int32_t row = segment->first_row;
    struct pk_sequence sequence = {
        .shape = shape, .rows = segment->rows,
        .prepared = pk_row(context, op->v[0], row), .stride = context->values[op->v[0]].stride,
        .out = pk_row(context, op->v[1], row), .out_stride = context->values[op->v[1]].stride};
    if (!backwards) {
      pk_attend(&sequence, item % heads, scratch);
      continue;
    }
    sequence.out_gradient = pk_row(context, op->v[2], row);
    sequence.gradient = pk_row(context, op->i[0], row);
    pk_attend_back(&sequence, item % heads, scratch);
  }
}

void pk_matmul_back(const struct pk_matrix* matrix, int32_t k, int32_t rows, const float* gradient,
                    int64_t gradient_stride, float* out, int64_t out_stride, int32_t adds, float* scratch) {
  float* panel = scratch;
  void* unpacking = panel + PANEL_GROUPS * PK_GROUP * PK_TURNED;
  int32_t count = matrix->columns - k < PK_TURNED ? matrix->columns - k : PK_TURNED;
  for (int32_t n = 0; n < matrix->rows; n += PANEL_GROUPS * PK_GROUP) {
    int32_t left = matrix->rows - n, most = PANEL_GROUPS * PK_GROUP;
    int32_t length = left < most ? left : most, group = n / PK_GROUP;
    pk_unpack_turned(matrix, group, group + (length + PK_GROUP - 1) / PK_GROUP, k, count, panel, unpacking);
    struct pk_chains product = {
        .rows = rows, .columns = count, .length = length,
        .a = gradient + n, .ai = gradient_stride, .al = 1,
        .b = panel, .bl = PK_TURNED, .c = out + k, .ci = out_stride, .adds = adds || n > 0};
    pk_chain(&product);
  }
}

uint64_t pk_matmul_back_bytes(void) {
  return 4 * (uint64_t)(PANEL_GROUPS * PK_GROUP * PK_TURNED) + pk_scratch_bytes();
}

// Items: PK_TURNED columns of the matrices' input each.
static void matmul_back_job(void* argument, int32_t first, int32_t end, int32_t thread) {
  struct pk_context* context = argument;
  const struct pk_op* op = context->op;
  const struct pk_matrix* matrices = op->p[0];
  const struct pk_value *gradient = &context->values[op->v[0]], *out = &context->values[op->v[1]];
  for (int32_t item = first; item < end; item++) {
    int32_t column = 0;
    for (int32_t i = 0; i < op->i[0]; i++) {
      pk_matmul_back(&matrices[i], item * PK_TURNED, context->batch->rows, gradient->at + column,
                     gradient->stride, out->at, out->stride, op->i[1] || i > 0,
                     pk_scratch_of(context, thread));
      column += matrices[i].rows;
    }
  }
}

static void lora_job(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct pk_op* op = context->op;
  const struct pk_lora* lora = op->p[0];
  int32_t backwards = op->code == PK_LORA_BACK, low = backwards ? op->i[0] : op->v[1];
  for (int32_t item = first; item < end; item++) {
    int32_t row = item * ROWS_AT_A_TIME, left = context->batch->rows - row;
    int32_t rows = left < ROWS_AT_A_TIME ? left : ROWS_AT_A_TIME;
    const struct pk_value *in = &context->values[op->v[0]], *out = &context->values[op->v[2]];
    float* lows = pk_row(context, low, row);
    int64_t stride = context->values[low].stride;
    // Whole vectors: what fills them up is zeros.
    struct pk_chains down = {.rows = rows, .columns = lora->stride, .al = 1, .c = lows, .ci = stride};
    struct pk_chains up = {.rows = rows, .length = lora->rank, .a = lows, .ai = stride, .al = 1, .adds = 1};
    if (backwards) {
      down.a = out->at + row * out->stride + lora->column, down.ai = out->stride;
      down.length = lora->outputs, down.b = lora->b, down.bl = lora->stride;
      const struct pk_value* gradient = &context->values[op->i[1]];
      up.columns = lora->inputs, up.b = lora->a, up.bl = lora->inputs;
      up.c = gradient->at + row * gradient->stride, up.ci = gradient->stride, up.adds = op->f[0] == 0;
    } else {
      down.a = in->at + row * in->stride, down.ai = in->stride;
      down.length = lora->inputs, down.b = lora->a_turned, down.bl = lora->stride;
      up.columns = lora->outputs, up.b = lora->b_turned, up.bl = lora->outputs;
      up.c = out->at + row * out->stride + lora->column, up.ci = out->stride;
    }
    if (backwards || op->v[0] >= 0) {
      pk_chain(&down);
      for (int32_t i = 0; i < rows; i++) pk_scale(lows + i * stride, lora->scale, lora->rank);
    }
    if (backwards || op->v[2] >= 0) pk_chain(&up);
  }
}

// Items: columns of A's gradient, then of B's.
static void lora_gradient_job(void* argument, int32_t first, int32_t end, int32_t thread) {
  (void)thread;
  struct pk_context* context = argument;
  const struct pk_op* op = context->op;
  const struct pk_lora* lora = op->p[0];
  int32_t of_a = (lora->inputs + COLUMNS_AT_A_TIME - 1) / COLUMNS_AT_A_TIME;
  for (int32_t item = first; item < end; item++) {
    int32_t is_a = item < of_a, column = (is_a ? item : item - of_a) * COLUMNS_AT_A_TIME;
    int32_t width = is_a ? lora->inputs : lora->outputs, left = width - column;
    const struct pk_value* low = &context->values[is_a ? op->i[0] : op->v[1]];
    const struct pk_value* rows = &context->values[is_a ? op->v[0] : op->v[2]];
    struct pk_chains product = {
        .rows = lora->rank, .columns = left < COLUMNS_AT_A_TIME ? left : COLUMNS_AT_A_TIME,
        .length = context->batch->rows, .a = low->at, .ai = 1, .al = low->stride,
        .b = rows->at + (is_a ? 0 : lora->column) + column, .bl = rows->stride,
        .c = (is_a ? lora->a_gradient : lora->b_gradient) + column, .ci = width};
    pk_chain(&product);
  }
}

static void run_lora(struct pk_context* context) {
  const struct pk_lora* lora = context->op->p[0];
  int32_t items = (context->batch->rows + ROWS_AT_A_TIME - 1) / ROWS_AT_A_TIME;
  pk_pool_run(context->pool, lora_job, context, items, 1);
  if (context->op->code == PK_LORA) return;
  int32_t pieces = (lora->inputs + COLUMNS_AT_A_TIME - 1) / COLUMNS_AT_A_TIME +
                   (lora->outputs + COLUMNS_AT_A_TIME - 1) / COLUMNS_AT_A_TIME;
  pk_pool_run(context->pool, lora_gradient_job, context, pieces, 1);
}

uint64_t pk_gradient_thread_bytes(const struct pk_program* program, const struct pk_op* op) {
  if (op->code == PK_ATTEND || op->code == PK_ATTEND_BACK) {
    return 4 * (uint64_t)pk_sequence_floats(op->p[0], program->max_rows);
  }
  return op->code == PK_MATMUL_BACK || op->code == PK_EXPERTS_BACK ? pk_matmul_back_bytes() : 0;
}

// Multiplications of one head of the longest sequence.
static int64_t longest_work(const struct pk_context* context) {
  const struct pk_attention* shape = context->op->p[0];
  int64_t longest = 0;
  for (int32_t i = 0; i < context->batch->segments; i++) {
    int32_t rows = context->batch->segment[i].rows;
    if (rows > longest) longest = rows;
  }
  return longest * longest * shape->dim;
}

int32_t pk_run_gradient(struct pk_context* context) {
  const struct pk_op* op = context->op;
  const struct pk_attention* shape = op->p[0];
  int32_t rows = context->batch->rows, segments = context->batch->segments, columns;
  // Products of a training program take no rounded rows, so that none need be forgotten.
  switch (op->code) {
    case PK_COPY:
    case PK_NORM_BACK:
    case PK_ACTIVATE_BACK:
    case PK_ENTROPY:
    case PK_SOFT_CAP_BACK:
      pk_pool_run(context->pool, row_job, context, rows, pk_grain(context, rows, 4));
      return 1;
    case PK_DROP:
      pk_pool_run(context->pool, drop_job, context, rows, pk_grain(context, rows, 4));
      return 1;
    case PK_TURN:
    case PK_TURN_BACK:
      pk_pool_run(context->pool, turn_job, context, rows, pk_grain(context, rows, 4));
      return 1;
    case PK_ATTEND:
      pk_run_items(context, attend_job, segments * shape->heads, 1, longest_work(context));
      return 1;
    case PK_ATTEND_BACK:
      pk_run_items(context, attend_job, segments * shape->kv_heads, 1,
                   4 * longest_work(context) * (shape->heads / shape->kv_heads));
      return 1;
    case PK_MATMUL_BACK:
      columns = ((const struct pk_matrix*)op->p[0])->columns;
      pk_run_items(context, matmul_back_job, (columns + PK_TURNED - 1) / PK_TURNED, 1,
                   (int64_t)rows * PK_TURNED * width_of(context, op->v[0]));
      return 1;
    case PK_LORA:
    case PK_LORA_BACK:
      run_lora(context);
      return 1;
    case PK_EXPERTS_BACK:
      pk_run_experts_back(context);
      return 1;
    default:
      return 0;
  }
}
