// Operations of training and their gradients; each is defined in arithmetic.ts under "Training".
#ifndef PK_GRADIENTS_H
#define PK_GRADIENTS_H
#include "executor.h"

// c[i][j] = chain over l of a[i * ai + l * al] * b[l * bl + j], for i < rows, j < columns; `adds`:
// the chain begins with what c has. Rows of c are `ci` floats apart.
struct pk_chains {
  int32_t rows, columns, length;
  const float* a;
  int64_t ai, al;
  const float* b;
  int64_t bl;
  float* c;
  int64_t ci;
  int32_t adds;
};
void pk_chain(const struct pk_chains* chains);

// dx (width), set or added to: the gradient of a norm's input x from that of its output.
void pk_norm_back(const float* x, const float* gradient, const float* weight, int32_t layer, float eps,
                  int32_t width, int32_t adds, float* dx);

// The gradient of what pk_turn was given, in place.
void pk_turn_back(float* gradient, const float* cosines, const float* sines, int32_t rotary);

// Gradient of an `enum pk_activation`'s input, as wide as that; `width` is that of its output.
void pk_activate_back(int32_t kind, const float* x, const float* gradient, float* dx, int32_t width);

// The gradient of logits (width) for one target, times `weight`; it may take their place. Facts as
// PK_ENTROPY has them.
void pk_entropy(const float* logits, int32_t target, float weight, int32_t width, float* gradient,
                float* facts);

// The gradient of what was capped, in place, from the capped values.
void pk_soft_cap_back(const float* capped, float cap, int32_t width, float* gradient);

// The gradient of an expert's share in a row, from that of the row; the gradient of what the expert
// gave (width) is set.
float pk_share_back(const float* down, const float* gradient, float share, int32_t width,
                    float* down_gradient);
// The gradient of all scores (count) from those of the chosen ones' shares; the rest is pk_route's.
void pk_route_back(const float* scores, int32_t count, int32_t chosen, int32_t shares_of_all,
                   const int32_t* numbers, const float* shares, const float* share_gradient,
                   float* score_gradient);

// Attention of one sequence, (rows) of it `stride` floats apart. Rows of `prepared` and of its
// gradient hold queries, keys and values; rows of `out` and of its gradient hold heads.
struct pk_sequence {
  const struct pk_attention* shape;
  int32_t rows;
  const float* prepared;
  int64_t stride;
  float* out;
  int64_t out_stride;
  const float* out_gradient;
  float* gradient;
};
// Floats of scratch for sequences of at most so many rows.
int64_t pk_sequence_floats(const struct pk_attention* shape, int32_t rows);
void pk_attend(const struct pk_sequence* sequence, int32_t head, float* scratch);
// Sets the gradients of a head of keys and values, and of the heads of queries that share it.
void pk_attend_back(const struct pk_sequence* sequence, int32_t kv_head, float* scratch);

// Columns [k, k + PK_TURNED) of rows of out: gradient (rows, matrix's rows) times the matrix;
// `adds` as above. Rows are `gradient_stride` and `out_stride` floats apart. The scratch has
// pk_matmul_back_bytes().
void pk_matmul_back(const struct pk_matrix* matrix, int32_t k, int32_t rows, const float* gradient,
                    int64_t gradient_stride, float* out, int64_t out_stride, int32_t adds, float* scratch);
uint64_t pk_matmul_back_bytes(void);

// 0 when the operation is unknown.
int32_t pk_run_gradient(struct pk_context* context);
uint64_t pk_gradient_thread_bytes(const struct pk_program* program, const struct pk_op* op);

#endif
