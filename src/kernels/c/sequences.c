// Attention of whole sequences with its gradient: no pages, no cache, a few rows of scores at a
// time.
#include "functions.h"
#include "gradients.h"

enum { TILE = 32 };

struct room {
  int64_t stride;  // of scores, and of turned keys and values
  float *keys, *values;  // (dim, stride)
  float *shares, *tanhs, *slopes;  // (TILE, stride)
};

static int64_t stride_of(int32_t rows) { return ((int64_t)rows + 15) / 16 * 16; }

int64_t pk_sequence_floats(const struct pk_attention* shape, int32_t rows) {
  return stride_of(rows) * (2 * (int64_t)shape->dim + 3 * TILE);
}

static struct room room_of(const struct pk_sequence* sequence, float* scratch) {
  int64_t stride = stride_of(sequence->rows), dim = sequence->shape->dim;
  struct room room = {stride, scratch, 0, 0, 0, 0};
  room.values = room.keys + dim * stride;
  room.shares = room.values + dim * stride;
  room.tanhs = room.shares + TILE * stride;
  room.slopes = room.tanhs + TILE * stride;
  return room;
}

static void turn(const struct pk_sequence* sequence, const float* from, float* to, int64_t stride) {
  int32_t row = 0, dim = sequence->shape->dim;
  for (; row + 16 <= sequence->rows; row += 16) {
    const float* rows = from + row * sequence->stride;
    int32_t d = 0;
    for (; d + 16 <= dim; d += 16) v_turn(rows + d, sequence->stride, to + d * stride + row, stride);
    for (; d < dim; d++) {
      for (int i = 0; i < 16; i++) to[d * stride + row + i] = rows[i * sequence->stride + d];
    }
  }
  for (; row < sequence->rows; row++) {
    for (int32_t d = 0; d < dim; d++) to[d * stride + row] = from[row * sequence->stride + d];
  }
}

static const float* keys_of(const struct pk_sequence* sequence, int32_t kv_head) {
  return sequence->prepared + (sequence->shape->heads + kv_head) * (int64_t)sequence->shape->dim;
}

static const float* values_of(const struct pk_sequence* sequence, int32_t kv_head) {
  const struct pk_attention* shape = sequence->shape;
  return sequence->prepared + (shape->heads + shape->kv_heads + kv_head) * (int64_t)shape->dim;
}

// The first position that a row sees.
static int32_t first_seen(const struct pk_attention* shape, int32_t row) {
  return shape->window > 0 && row >= shape->window ? row - shape->window + 1 : 0;
}

// Shares of positions [low, high) for rows [first, end), which lie at `shares`; with a cap also the
// tanh of each score.
static void share(const struct pk_sequence* sequence, const struct room* room, int32_t head,
                  int32_t first, int32_t end, int32_t low) {
  const struct pk_attention* shape = sequence->shape;
  int32_t high = end;
  struct pk_chains product = {
      .rows = end - first, .columns = high - low, .length = shape->dim,
      .a = sequence->prepared + first * sequence->stride + (int64_t)head * shape->dim,
      .ai = sequence->stride, .al = 1, .b = room->keys + low, .bl = room->stride,
      .c = room->shares, .ci = room->stride};
  pk_chain(&product);
  for (int32_t row = first; row < end; row++) {
    float* scores = room->shares + (row - first) * room->stride;
    float* tanhs = room->tanhs + (row - first) * room->stride;
    int32_t from = first_seen(shape, row) - low, to = row + 1 - low, count = high - low;
    float slope = shape->slopes ? shape->slopes[head] : 0;
    float most = shape->sinks ? shape->sinks[head] : -__builtin_inff();
    for (int32_t j = 0; j < count; j += 16) {
      v16 score = v_load(scores + j) * v_set(shape->scale);
      if (shape->soft_cap > 0) {
        v16 t = v_tanh(score / v_set(shape->soft_cap));
        v_store(tanhs + j, t);
        score = v_set(shape->soft_cap) * t;
      }
      if (shape->slopes) {
        v16 away = __builtin_convertvector(v_lanes() + v_set_int(low + j - row), v16);
        score = v_fma(v_set(slope), away, score);
      }
      v_store(scores + j, score);
    }
    for (int32_t j = from; j < to; j++) most = scores[j] > most ? scores[j] : most;
    v16 sum = v_set(0);
    for (int32_t j = 0; j < count; j += 16) {
      v16 e = v_exp(v_load(scores + j) - v_set(most));
      i16x at = v_lanes() + v_set_int(j);
      e = v_select((at >= v_set_int(from)) & (at < v_set_int(to)), e, v_set(0));
      v_store(scores + j, e);
      sum += e;
    }
    float z = v_sum(sum);
    if (shape->sinks) z += pk_exp(shape->sinks[head] - most);
    v16 r = v_set(1.0f / z);
    for (int32_t j = 0; j < count; j += 16) v_store(scores + j, v_load(scores + j) * r);
  }
}

// Where the tile of rows that begins with `first` begins to see: at a multiple of 16.
static int32_t lowest(const struct pk_attention* shape, int32_t first) {
  return first_seen(shape, first) & ~15;
}

void pk_attend(const struct pk_sequence* sequence, int32_t head, float* scratch) {
  const struct pk_attention* shape = sequence->shape;
  struct room room = room_of(sequence, scratch);
  int32_t kv_head = head / (shape->heads / shape->kv_heads);
  turn(sequence, keys_of(sequence, kv_head), room.keys, room.stride);
  for (int32_t first = 0; first < sequence->rows; first += TILE) {
    int32_t end = first + TILE < sequence->rows ? first + TILE : sequence->rows;
    int32_t low = lowest(shape, first);
    share(sequence, &room, head, first, end, low);
    struct pk_chains product = {
        .rows = end - first, .columns = shape->dim, .length = end - low,
        .a = room.shares, .ai = room.stride, .al = 1,
        .b = values_of(sequence, kv_head) + low * sequence->stride, .bl = sequence->stride,
        .c = sequence->out + first * sequence->out_stride + (int64_t)head * shape->dim,
        .ci = sequence->out_stride};
    pk_chain(&product);
  }
}

// The slopes of the scores of one tile, from those of its shares.
static void score_slopes(const struct pk_sequence* sequence, const struct room* room, int32_t head,
                         int32_t first, int32_t end, int32_t low) {
  const struct pk_attention* shape = sequence->shape;
  for (int32_t row = first; row < end; row++) {
    const float* shares = room->shares + (row - first) * room->stride;
    const float* tanhs = room->tanhs + (row - first) * room->stride;
    float* slopes = room->slopes + (row - first) * room->stride;
    int64_t at = row * sequence->out_stride + (int64_t)head * shape->dim;
    v16 sum = v_set(0);
    int32_t d = 0;
    for (; d + 16 <= shape->dim; d += 16) {
      sum = v_fma(v_load(sequence->out_gradient + at + d), v_load(sequence->out + at + d), sum);
    }
    for (; d < shape->dim; d++) {
      sum[d & 15] = pk_fma(sequence->out_gradient[at + d], sequence->out[at + d], sum[d & 15]);
    }
    v16 along = v_set(v_sum(sum));
    for (int32_t j = 0; j < end - low; j += 16) {
      v16 slope = v_load(shares + j) * (v_load(slopes + j) - along);
      if (shape->soft_cap > 0) {
        v16 t = v_load(tanhs + j);
        slope = slope * v_fma(-t, t, v_set(1));
      }
      v_store(slopes + j, slope * v_set(shape->scale));
    }
  }
}

static void back_tile(const struct pk_sequence* sequence, const struct room* room, int32_t head,
                      int32_t first) {
  const struct pk_attention* shape = sequence->shape;
  int32_t end = first + TILE < sequence->rows ? first + TILE : sequence->rows;
  int32_t low = lowest(shape, first), kv_head = head / (shape->heads / shape->kv_heads);
  int64_t dim = shape->dim, stride = sequence->stride, query = head * dim;
  const float* g = sequence->out_gradient + first * sequence->out_stride + query;
  share(sequence, room, head, first, end, low);
  struct pk_chains of_shares = {
      .rows = end - first, .columns = end - low, .length = shape->dim,
      .a = g, .ai = sequence->out_stride, .al = 1, .b = room->values + low, .bl = room->stride,
      .c = room->slopes, .ci = room->stride};
  pk_chain(&of_shares);
  score_slopes(sequence, room, head, first, end, low);
  struct pk_chains of_query = {
      .rows = end - first, .columns = shape->dim, .length = end - low,
      .a = room->slopes, .ai = room->stride, .al = 1, .b = keys_of(sequence, kv_head) + low * stride,
      .bl = stride, .c = sequence->gradient + first * stride + query, .ci = stride};
  pk_chain(&of_query);
  struct pk_chains of_key = {
      .rows = end - low, .columns = shape->dim, .length = end - first,
      .a = room->slopes, .ai = 1, .al = room->stride, .b = sequence->prepared + first * stride + query,
      .bl = stride, .c = sequence->gradient + low * stride + (shape->heads + kv_head) * dim, .ci = stride,
      .adds = 1};
  pk_chain(&of_key);
  struct pk_chains of_value = {
      .rows = end - low, .columns = shape->dim, .length = end - first,
      .a = room->shares, .ai = 1, .al = room->stride, .b = g, .bl = sequence->out_stride,
      .c = sequence->gradient + low * stride + (shape->heads + shape->kv_heads + kv_head) * dim,
      .ci = stride, .adds = 1};
  pk_chain(&of_value);
}

void pk_attend_back(const struct pk_sequence* sequence, int32_t kv_head, float* scratch) {
  const struct pk_attention* shape = sequence->shape;
  struct room room = room_of(sequence, scratch);
  turn(sequence, keys_of(sequence, kv_head), room.keys, room.stride);
  turn(sequence, values_of(sequence, kv_head), room.values, room.stride);
  int64_t dim = shape->dim;
  for (int32_t row = 0; row < sequence->rows; row++) {
    float* at = sequence->gradient + row * sequence->stride;
    for (int32_t d = 0; d < dim; d++) {
      at[(shape->heads + kv_head) * dim + d] = 0;
      at[(shape->heads + shape->kv_heads + kv_head) * dim + d] = 0;
    }
  }
  int32_t group = shape->heads / shape->kv_heads;
  for (int32_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
    for (int32_t first = 0; first < sequence->rows; first += TILE) {
      back_tile(sequence, &room, head, first);
    }
  }
}
