// A small computation whose bits are known: a library that was compiled wrongly, or a processor
// that computes otherwise, is found before it serves anybody. load.ts knows the hash.
#include "attention.h"
#include "operators.h"
#include "system/system.h"

enum { ROWS = 17, OUTPUTS = 40, COLUMNS = 256, HEADS = 4, KV_HEADS = 2, DIM = 24, POSITIONS = 32, SEEN = 21 };

uint64_t pk_self_check(void);

static uint32_t state;
static uint32_t next_bits(void) {
  state = state * 1664525u + 1013904223u;
  return state >> 8;
}
static float next_float(void) { return (float)(int32_t)(next_bits() & 0xffff) / 16384.0f - 2.0f; }

static uint64_t hashed(uint64_t hash, const float* values, int32_t count) {
  for (int32_t i = 0; i < count; i++) {
    uint32_t bits;
    __builtin_memcpy(&bits, &values[i], 4);
    hash = (hash ^ bits) * 0x100000001b3u;
  }
  return hash;
}

// Blocks of Q8_0: a float16 scale and 32 bytes; the scales are of 2^-6 to 2^-5.
static void fill_blocks(uint8_t* at, int32_t blocks) {
  for (int32_t b = 0; b < blocks; b++, at += 34) {
    uint16_t scale = (uint16_t)(0x2400 | (next_bits() & 0x3ff));
    at[0] = (uint8_t)scale;
    at[1] = (uint8_t)(scale >> 8);
    for (int32_t i = 2; i < 34; i++) at[i] = (uint8_t)next_bits();
  }
}

static uint64_t check_product(uint64_t hash, float* x) {
  static uint8_t source[OUTPUTS * COLUMNS / 32 * 34];
  static uint8_t packed[65536] __attribute__((aligned(64)));
  static uint8_t xq[16384] __attribute__((aligned(64)));
  static uint8_t scratch[1 << 20] __attribute__((aligned(64)));
  static float y[ROWS * OUTPUTS];
  uint64_t bytes = pk_packed_bytes(PK_Q8_0, OUTPUTS, COLUMNS);
  if (bytes == 0 || bytes > sizeof packed || pk_scratch_bytes() > sizeof scratch) return 0;
  if (ROWS * pk_xq_bytes(COLUMNS) > sizeof xq) return 0;
  fill_blocks(source, OUTPUTS * COLUMNS / 32);
  if (pk_pack(PK_Q8_0, COLUMNS, PK_Q8_0, source, 0, OUTPUTS, packed) != -1) return 0;
  struct pk_matrix matrix = {packed, PK_Q8_0, OUTPUTS, COLUMNS, 0, 0};
  pk_quantise_rows(x, COLUMNS, ROWS, COLUMNS, xq);
  pk_matmul(&matrix, x, COLUMNS, xq, y, OUTPUTS, ROWS, 0, (OUTPUTS + PK_GROUP - 1) / PK_GROUP, scratch);
  hash = hashed(hash, y, ROWS * OUTPUTS);
  pk_matmul(&matrix, x, COLUMNS, xq, y, OUTPUTS, 1, 0, (OUTPUTS + PK_GROUP - 1) / PK_GROUP, scratch);
  return hashed(hash, y, OUTPUTS);
}

static uint64_t check_attention(uint64_t hash, float* q) {
  static uint8_t page[8192] __attribute__((aligned(64)));
  static uint8_t scratch[1 << 17] __attribute__((aligned(64)));
  static float seen[3 * HEADS * 64], out[DIM];
  static const float slopes[HEADS] = {0.5f, 0.25f, 0.125f, 0.0625f};
  struct pk_attention shape = {0};
  shape.heads = HEADS;
  shape.kv_heads = KV_HEADS;
  shape.dim = DIM;
  shape.scale = 0.25f;
  shape.soft_cap = 20.0f;
  shape.slopes = slopes;
  uint64_t pages[1] = {(uint64_t)(uintptr_t)page};
  struct pk_kv kv = {&shape, pages, 0, POSITIONS};
  if (KV_HEADS * pk_kv_head_bytes(PK_KV_F16, DIM, POSITIONS) > sizeof page) return 0;
  if (pk_attention_scratch(&shape) > sizeof scratch) return 0;
  float head[DIM];
  for (int32_t position = 0; position < SEEN; position++) {
    for (int32_t h = 0; h < KV_HEADS; h++) {
      for (int32_t i = 0; i < DIM; i++) head[i] = next_float();
      pk_store_key(&kv, h, position, head);
      for (int32_t i = 0; i < DIM; i++) head[i] = next_float();
      pk_store_value(&kv, h, position, head);
    }
  }
  for (int32_t h = 0; h < KV_HEADS; h++) {
    struct pk_queries queries = {q, HEADS * DIM, 3, SEEN - 3, h};
    pk_see_chunk(&kv, &queries, 0, seen, scratch);
    for (int32_t i = 0; i < 3 * HEADS / KV_HEADS; i++) {
      pk_finish(&shape, 0, seen + i * pk_seen_floats(DIM), out);
      hash = hashed(hash, out, DIM);
    }
  }
  return hash;
}

static uint64_t check(void) {
  static float x[ROWS * COLUMNS], weight[COLUMNS], y[COLUMNS];
  state = 20261201;
  for (int32_t i = 0; i < ROWS * COLUMNS; i++) x[i] = next_float();
  for (int32_t i = 0; i < COLUMNS; i++) weight[i] = next_float();
  uint64_t hash = 0xcbf29ce484222325u;
  for (int32_t kind = 0; kind <= PK_SILU; kind++) {
    pk_activate(kind, x, y, COLUMNS, 0, COLUMNS);
    hash = hashed(hash, y, COLUMNS);
  }
  pk_norm_row(x, 0, weight, 0, 1e-5f, COLUMNS - 3, y);
  hash = hashed(hash, y, COLUMNS - 3);
  pk_norm_row(x, 0, weight, x + COLUMNS, 1e-5f, COLUMNS, y);
  hash = hashed(hash, y, COLUMNS);
  uint64_t product = check_product(hash, x);
  return product == 0 ? 0 : check_attention(product, x);
}

// Workers of one process may check at the same time; what is checked lies in memory of all.
uint64_t pk_self_check(void) {
  static int32_t is_checking;
  while (__atomic_exchange_n(&is_checking, 1, __ATOMIC_ACQUIRE)) pk_pause();
  uint64_t hash = check();
  __atomic_store_n(&is_checking, 0, __ATOMIC_RELEASE);
  return hash;
}
