// Prints a hash of packed weights and of products for every form: the same whatever it was compiled
// for. scripts/prove/prove-neon.sh compiles and runs it. Inputs come from a generator, so that no
// file is needed.
#include "../../src/kernels/c/products/products.c"
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 72, COLUMNS = 1280, INPUTS = 13 };

static const struct {
  const char* name;
  int32_t form;
  int deltas[2];  // where a block has float16 scales
} FORMS[] = {
  {"F32", PK_F32, {-1, -1}},     {"F16", PK_F16, {-1, -1}},      {"BF16", PK_BF16, {-1, -1}},
  {"Q4_0", PK_Q4_0, {0, -1}},    {"Q4_1", PK_Q4_1, {0, 2}},      {"Q5_0", PK_Q5_0, {0, -1}},
  {"Q5_1", PK_Q5_1, {0, 2}},     {"Q8_0", PK_Q8_0, {0, -1}},     {"Q2_K", PK_Q2_K, {80, 82}},
  {"Q3_K", PK_Q3_K, {108, -1}},  {"Q4_K", PK_Q4_K, {0, 2}},      {"Q5_K", PK_Q5_K, {0, 2}},
  {"Q6_K", PK_Q6_K, {208, -1}},  {"IQ4_NL", PK_IQ4_NL, {0, -1}}, {"IQ4_XS", PK_IQ4_XS, {0, -1}},
  {"MXFP4", PK_MXFP4, {-1, -1}}, {"I4", PK_I4, {-1, -1}},        {"I8", PK_I8, {-1, -1}},
};

static uint32_t state;
static uint32_t next(void) { return (state = state * 1664525u + 1013904223u) >> 8; }
static float uniform(void) { return (float)(int32_t)(next() - (1u << 23)) * 0x1p-23f; }

static uint64_t hash(uint64_t h, const void* data, size_t bytes) {
  const uint8_t* at = data;
  for (size_t i = 0; i < bytes; i++) h = (h ^ at[i]) * 1099511628211u;
  return h;
}

// The source's row-major bytes of a form.
static void fill(int32_t form, const int* deltas, uint8_t* source) {
  struct pk_form_layout l;
  pk_layout_of(form, &l);
  if (pk_is_float(form) || form >= PK_I4) {
    for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++) {
      float value = uniform() * 0.1f;
      if (form == PK_F16) pk_put2(source + 2 * i, pk_nearest_half(value));
      else if (form == PK_BF16) pk_put2(source + 2 * i, pk_nearest_bfloat(value));
      else pk_put4(source + 4 * i, pk_bits(value));
    }
    return;
  }
  size_t blocks = (size_t)ROWS * COLUMNS / (size_t)l.block, bytes = (size_t)l.source;
  for (size_t i = 0; i < blocks * bytes; i++) source[i] = (uint8_t)next();
  for (size_t b = 0; b < blocks; b++) {
    for (int i = 0; i < 2 && deltas[i] >= 0; i++)
      pk_put2(source + b * bytes + deltas[i], pk_nearest_half(uniform() * 0.02f));
    if (form == PK_MXFP4) source[b * bytes] = (uint8_t)(115 + next() % 8);
  }
}

int32_t pk_cpu(void);

int main(void) {
  // Asks the system for AMX's tiles, where it has them.
  pk_cpu();
  static float x[INPUTS * COLUMNS], y[INPUTS * ROWS], bias[ROWS], row[COLUMNS];
  uint8_t* source = malloc((size_t)ROWS * COLUMNS * 4);
  uint8_t* packed = aligned_alloc(64, (size_t)(ROWS + 16) * COLUMNS * 4);
  uint8_t* xq = aligned_alloc(64, INPUTS * pk_xq_bytes(COLUMNS));
  uint8_t* scratch = aligned_alloc(64, pk_scratch_bytes());
  int groups = (ROWS + PK_GROUP - 1) / PK_GROUP, wrong = 0;
  for (size_t f = 0; f < sizeof FORMS / sizeof FORMS[0]; f++) {
    int32_t form = FORMS[f].form, from = form >= PK_I4 ? PK_F32 : form;
    uint64_t h = 14695981039346656037u, unpacked = h;
    state = 7;
    fill(form, FORMS[f].deltas, source);
    for (size_t i = 0; i < INPUTS * COLUMNS; i++) x[i] = uniform() * (1 + (float)(i / COLUMNS));
    for (size_t i = 0; i < ROWS; i++) bias[i] = uniform();
    if (pk_pack(form, COLUMNS, from, source, 0, ROWS, packed) != -1) wrong++;
    struct pk_matrix matrix = {packed, form, ROWS, COLUMNS, 0, bias};
    for (int i = 0; i < ROWS; i++) {
      pk_unpack_row(form, COLUMNS, packed, i, row);
      unpacked = hash(unpacked, row, sizeof row);
    }
    pk_quantise_rows(x, COLUMNS, INPUTS, COLUMNS, xq);
    // Products with rounded rows, and with floats; whole, then row by row and group by group.
    for (int floats = !pk_takes_int8(form); floats < 2; floats++) {
      static float again[ROWS];
      pk_matmul(&matrix, x, COLUMNS, floats ? 0 : xq, y, ROWS, INPUTS, 0, groups, scratch);
      h = hash(h, y, sizeof y);
      for (int r = 0; r < INPUTS; r++) {
        const uint8_t* one = floats ? 0 : xq + (size_t)r * pk_xq_bytes(COLUMNS);
        for (int g = 0; g < groups; g++)
          pk_matmul(&matrix, x + r * COLUMNS, COLUMNS, one, again, ROWS, 1, g, g + 1, scratch);
        if (hash(1, again, sizeof again) != hash(1, y + r * ROWS, sizeof again)) wrong++;
      }
    }
    printf("%-7s %016llx %016llx\n", FORMS[f].name, (unsigned long long)unpacked, (unsigned long long)h);
  }
  if (wrong) printf("%d products depend on how they were cut\n", wrong);
  return wrong != 0;
}
