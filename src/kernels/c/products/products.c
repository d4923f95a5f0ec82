// Matrix products and packing, all of it in one translation unit: included once for each
// instruction set.
#include "../vec/vec.h"
#include "../vec/vector.h"
#include "floats.h"
#ifdef __AMX_INT8__
#include "tiles.h"
#endif
#include "pack.c"
#include "rows.c"

uint64_t pk_scratch_bytes(void) {
  size_t integers = sizeof(struct pk_integer_scratch), floats = sizeof(struct pk_float_scratch);
  size_t most = integers > floats ? integers : floats;
#ifdef __AMX_INT8__
  most = most > sizeof(struct pk_amx_scratch) ? most : sizeof(struct pk_amx_scratch);
#endif
  return (most + 63) & ~(uint64_t)63;
}

void pk_matmul(const struct pk_matrix* matrix, const float* x, int64_t ldx, const void* xq, float* y,
               int64_t ldy, int32_t rows, int32_t group0, int32_t group1, void* scratch) {
  struct pk_product job = {.matrix = matrix, .y = y, .ldy = ldy, .rows = rows};
  if (rows < 1 || group0 >= group1 || !pk_layout_of(matrix->form, &job.layout)) return;
  job.blocks = pk_blocks(matrix->columns);
  job.groupBytes = pk_group_bytes(matrix->form, matrix->columns);
  int floats = pk_is_float(matrix->form);
  if (floats && rows == 1) pk_floats_one(&job, x, group0, group1);
  else if (floats || !xq) pk_floats_many(&job, x, ldx, group0, group1, scratch);
  else if (rows == 1) pk_integers_one(&job, xq, group0, group1);
#ifdef __AMX_INT8__
  else if (rows >= PK_AMX_LEAST) pk_amx_many(&job, xq, group0, group1, scratch);
#endif
  else pk_integers_many(&job, xq, group0, group1, scratch);
}

void pk_unpack_turned(const struct pk_matrix* matrix, int32_t group0, int32_t group1, int32_t k,
                      int32_t count, float* out, void* scratch) {
  struct pk_product job = {.matrix = matrix};
  struct pk_float_scratch* own = scratch;
  if (!pk_layout_of(matrix->form, &job.layout)) return;
  job.blocks = pk_blocks(matrix->columns);
  job.groupBytes = pk_group_bytes(matrix->form, matrix->columns);
  for (int32_t group = group0; group < group1; group++, out += PK_GROUP * PK_TURNED) {
    pk_float_panel(&job, group, (size_t)k, (size_t)count, own->blocks, own->panel[0]);
    int32_t i = 0;
    for (; i + PK_GROUP <= count; i += PK_GROUP) v_turn(own->panel[0][i], PK_GROUP, out + i, PK_TURNED);
    for (; i < count; i++) {
      for (int32_t n = 0; n < PK_GROUP; n++) out[n * PK_TURNED + i] = own->panel[0][i][n];
    }
  }
}
