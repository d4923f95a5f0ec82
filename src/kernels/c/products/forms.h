// Weight forms, their packed layout's sizes, and matrix products: what callers of the products
// need. Nothing here allocates, locks, starts threads or calls a C library.
// src/kernels/arithmetic.ts says what the bits of a product are.
#ifndef PK_FORMS_H
#define PK_FORMS_H
#include <stddef.h>
#include <stdint.h>

// Numbers are those of GGUF's tensor types; ours begin at 100. They are written into files.
enum pk_form {
  PK_F32 = 0,
  PK_F16 = 1,
  PK_Q4_0 = 2,
  PK_Q4_1 = 3,
  PK_Q5_0 = 6,
  PK_Q5_1 = 7,
  PK_Q8_0 = 8,
  PK_Q2_K = 10,
  PK_Q3_K = 11,
  PK_Q4_K = 12,
  PK_Q5_K = 13,
  PK_Q6_K = 14,
  PK_IQ4_NL = 20,
  PK_IQ4_XS = 23,
  PK_BF16 = 30,
  PK_MXFP4 = 39,
  PK_I4 = 100,  // floats rounded to 4 bits by us (--quant int4)
  PK_I8 = 101   // floats rounded to 8 bits by us (--quant int8)
};

// Outputs (rows of the weights) that lie side by side. A group is contiguous in memory, a matrix is
// its groups in order: group g begins at data + g * pk_group_bytes(form, columns). Rows of the last
// group that the matrix does not have are zeros.
enum { PK_GROUP = 16 };

// A packed matrix, (rows, columns) as in a model's file: y[n] = sum over k of weight[n][k] * x[k].
struct pk_matrix {
  const void* data;   // packed; at a multiple of 64 bytes
  int32_t form;       // enum pk_form
  int32_t rows;       // N, outputs
  int32_t columns;    // K; a multiple of the form's block (32 or 256), any number for F32, F16, BF16, I4, I8
  int32_t reserved;   // 0
  const float* bias;  // (rows), added to each finished sum, or null
};

// 1 for a form that this library knows and that can hold `columns`, else 0.
int32_t pk_holds(int32_t form, int32_t columns);

// 1 for forms whose products take rows rounded to int8 (`xq`), 0 for F32, F16 and BF16.
int32_t pk_takes_int8(int32_t form);

// Bytes of a group of 16 rows, a multiple of 64; and of a matrix. 0 where pk_holds says 0.
uint64_t pk_group_bytes(int32_t form, int32_t columns);
uint64_t pk_packed_bytes(int32_t form, int32_t rows, int32_t columns);

// Packs `count` rows from `source` (row-major, the bytes of a GGUF or safetensors file) as rows
// [first, first + count) of the matrix at `packed` (where its row 0 begins). A row that begins a
// group clears the group, so rows are packed in ascending order within a group; several calls fill
// a matrix from above to below, and calls on different groups may run at once. `sourceForm` is
// `form`; or F32, F16 or BF16 where `form` is one of those, I4 or I8. Returns -1 when all is
// packed, -2 where the forms or columns do not fit, else the first row of `source` (0 is its first)
// that has a scale or value that is not finite.
int32_t pk_pack(int32_t form, int32_t columns, int32_t sourceForm, const void* source, int32_t first,
                int32_t count, void* packed);

// Writes the `columns` values of row `row` to `out`: exactly what dequantising the source gives.
void pk_unpack_row(int32_t form, int32_t columns, const void* packed, int32_t row, float* out);

// Weights [k, k + count) of the rows of groups [group0, group1) as floats, turned: out[n][i] is that
// of row 16 * group0 + n and k + i. k and count are multiples of 32, or end with the columns; count
// is at most PK_TURNED; `out` has PK_TURNED floats for each of the groups' rows. `scratch` has
// pk_scratch_bytes().
enum { PK_TURNED = 64 };
void pk_unpack_turned(const struct pk_matrix* matrix, int32_t group0, int32_t group1, int32_t k,
                      int32_t count, float* out, void* scratch);

// Rows of activations rounded to int8 by blocks of 32, each row pk_xq_bytes(columns) long (a
// multiple of 16). `ldx` counts floats between rows. Columns beyond K are zeros.
uint64_t pk_xq_bytes(int32_t columns);
void pk_quantise_rows(const float* x, int64_t ldx, int32_t rows, int32_t columns, void* xq);

// Memory that a thread in pk_matmul needs for itself, at a multiple of 64 bytes.
uint64_t pk_scratch_bytes(void);

// y (rows, ldy) columns [16 * group0, min(16 * group1, N)) = x times the matrix (+ bias). Of forms
// that take int8 the product is with `xq`; where `xq` is null, and for float forms, with floats `x`
// (rows, ldx). Only those columns of y are written. No bit of y depends on rows, groups or the
// instruction set. `scratch` has pk_scratch_bytes().
void pk_matmul(const struct pk_matrix* matrix, const float* x, int64_t ldx, const void* xq, float* y,
               int64_t ldy, int32_t rows, int32_t group0, int32_t group1, void* scratch);

#endif
