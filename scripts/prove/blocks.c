// Prints hashes of rows through a block of experts and windows, for every kind of KV, by one thread
// and by two, at once and row by row: the same whatever it was compiled for. prove-neon.sh compiles
// and runs it with all of src/kernels/c.
#include "../../src/kernels/c/executor.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 96, FFN = 64, HEADS = 6, KV_HEADS = 2, DIM = 20, EXPERTS = 4, ROWS = 280, PAGE = 32 };
enum { NORMED = 2, QKV, SEEN, OUT, GATE_UP, ACTIVE, VALUES };

uint64_t pk_self_check(void);
int32_t pk_cpu(void);
uint64_t pk_kv_head_bytes(int32_t kind, int32_t dim, int32_t positions);

static uint32_t state = 7;
static float next(void) {
  state = state * 1664525u + 1013904223u;
  return (float)(int32_t)(state >> 8) * 0x1p-23f - 1.0f;
}

static void* room(uint64_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }

static float* floats(int32_t count, float scale, float offset) {
  float* out = room((uint64_t)count * 4);
  for (int32_t i = 0; i < count; i++) out[i] = next() * scale + offset;
  return out;
}

static struct pk_matrix matrix(int32_t form, int32_t rows, int32_t columns) {
  float* source = floats(rows * columns, 0.2f, 0);
  void* packed = room(pk_packed_bytes(form, rows, columns));
  if (pk_pack(form, columns, PK_F32, source, 0, rows, packed) != -1) exit(2);
  return (struct pk_matrix){packed, form, rows, columns, 0, floats(rows, 0.1f, 0)};
}

static uint64_t hash(const float* values, int32_t count) {
  uint64_t h = 0xcbf29ce484222325u;
  for (int32_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, &values[i], 4);
    h = (h ^ bits) * 0x100000001b3u;
  }
  return h;
}

static uint64_t run(const struct pk_program* program, const float* hidden, int32_t threads, int32_t cut) {
  uint64_t pages[(ROWS + PAGE - 1) / PAGE];
  for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
    void* page = room(program->block_kv[1]);
    memset(page, 0xff, program->block_kv[1]);
    pages[i] = (uint64_t)(uintptr_t)page;
  }
  struct pk_pool* pool = pk_pool_open(threads);
  void* arena = room(pk_arena_bytes(program, threads));
  float* result = room(sizeof(float) * ROWS * WIDTH);
  for (int32_t at = 0; at < ROWS; at += cut) {
    int32_t rows = ROWS - at < cut ? ROWS - at : cut;
    struct pk_segment segment = {pages, sizeof pages / sizeof *pages, 0, at, 0, rows};
    struct pk_batch batch = {rows, 1, 0, 1, hidden + at * WIDTH, result + at * WIDTH, 0, &segment, 0};
    int32_t status = pk_run(program, &batch, arena, pool);
    if (status != PK_DONE) printf("status %d\n", status);
  }
  pk_pool_close(pool);
  return hash(result, ROWS * WIDTH);
}

int main(void) {
  // Asks the system for AMX's tiles, where it has them.
  pk_cpu();
  printf("self check %016llx\n", (unsigned long long)pk_self_check());
  struct pk_matrix qkv[2] = {matrix(PK_I8, HEADS * DIM, WIDTH), matrix(PK_I4, 2 * KV_HEADS * DIM, WIDTH)};
  struct pk_matrix out = matrix(PK_F32, WIDTH, HEADS * DIM), router = matrix(PK_F32, EXPERTS, WIDTH);
  struct pk_matrix gate_up[EXPERTS], down[EXPERTS];
  for (int32_t i = 0; i < EXPERTS; i++) {
    gate_up[i] = matrix(PK_I4, 2 * FFN, WIDTH);
    down[i] = matrix(PK_I8, WIDTH, FFN);
  }
  struct pk_matrix up = matrix(PK_I8, FFN, WIDTH), back = matrix(PK_I8, WIDTH, FFN);
  struct pk_experts experts = {EXPERTS, 2, 0, PK_SWIGLU, &router, gate_up, down};
  float* weight = floats(WIDTH, 0.1f, 1);
  float* hidden = floats(ROWS * WIDTH, 1, 0);
  for (int32_t kind = PK_KV_F16; kind <= PK_KV_INT8; kind++) {
    struct pk_attention shape = {0};
    shape.heads = HEADS;
    shape.kv_heads = KV_HEADS;
    shape.dim = DIM;
    shape.window = 270;
    shape.scale = 0.22f;
    shape.soft_cap = 30;
    shape.norm_eps = 1e-6f;
    shape.rotary = 12;
    shape.rope_positions = ROWS;
    shape.kv_type = kind;
    shape.rope_cos = floats(ROWS * 6, 1, 0);
    shape.rope_sin = floats(ROWS * 6, 1, 0);
    shape.query_norm = shape.key_norm = floats(DIM, 0.1f, 1);
    shape.slopes = floats(HEADS, 0.1f, 0.2f);
    struct pk_op ops[] = {
      {PK_NORM, {PK_RESULT, NORMED, -1}, {0}, {1e-5f}, {weight}},
      {PK_MATMUL, {NORMED, QKV, -1}, {2}, {0}, {qkv}},
      {PK_ATTENTION, {QKV, SEEN, -1}, {0}, {0}, {&shape}},
      {PK_MATMUL, {SEEN, OUT, PK_RESULT}, {1}, {0}, {&out}},
      {PK_NORM, {PK_RESULT, NORMED, -1}, {0}, {1e-5f}, {weight, weight}},
      {PK_EXPERTS, {NORMED, OUT, PK_RESULT}, {0}, {0}, {&experts}},
      {PK_MATMUL, {PK_RESULT, GATE_UP, -1}, {1}, {0}, {&up}},
      {PK_ACTIVATE, {GATE_UP, ACTIVE, -1}, {PK_GELU_ERF}, {0}, {0}},
      {PK_MATMUL, {ACTIVE, OUT, -1}, {1}, {0}, {&back}},
      {PK_SOFT_CAP, {OUT, -1, -1}, {0}, {3.0f}, {0}},
      {PK_ADD, {PK_RESULT, OUT, -1}, {0}, {0}, {0}},
    };
    int32_t widths[VALUES] = {WIDTH, 0, WIDTH, (HEADS + 2 * KV_HEADS) * DIM, HEADS * DIM, WIDTH, FFN, FFN};
    int32_t count = sizeof ops / sizeof *ops, begins[2] = {0, count};
    uint64_t kv[2] = {0, KV_HEADS * pk_kv_head_bytes(kind, DIM, PAGE)};
    struct pk_program program = {PK_MAGIC, PK_PROGRAM_VERSION, ROWS, VALUES, count, 1, PAGE, 0,
                                 widths, ops, begins, kv};
    printf("kv %d:", kind);
    for (int32_t threads = 1; threads <= 2; threads++) {
      printf(" %016llx", (unsigned long long)run(&program, hidden, threads, ROWS));
      printf(" %016llx", (unsigned long long)run(&program, hidden, threads, threads == 1 ? 1 : 37));
    }
    printf("\n");
  }
  return 0;
}
