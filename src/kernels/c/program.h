// A program: what a span (or a head) computes, as a list of operations over rows.
// src/kernels/program.ts writes it; executor.c runs it. arithmetic.ts says what the bits of every
// operation are.
#ifndef PK_PROGRAM_H
#define PK_PROGRAM_H
#include "products/forms.h"
#include <stdint.h>

enum { PK_MAGIC = 0x31304b50, PK_PROGRAM_VERSION = 2, PK_NONE = -1 };

// Values are rows of floats, `width` each. Value 0 is the batch's `result` (which starts as its
// `hidden`), value 1 the batch's `out`; all others lie in the arena, or in the batch's `kept`.
enum { PK_RESULT = 0, PK_OUT = 1 };

enum pk_code {
  PK_NORM = 1,       // v: in, out, branch or -1      f: eps            p: weight, bias or 0
  PK_MATMUL = 2,     // v: in, out, residual or -1    i: matrices       p: struct pk_matrix[]
  PK_ATTENTION = 3,  // v: qkv, out                                     p: struct pk_attention
  PK_ACTIVATE = 4,   // v: in, out                    i: pk_activation
  PK_EXPERTS = 5,    // v: in, out, residual or -1                      p: struct pk_experts
  PK_ADD = 6,        // v: into, from
  PK_SOFT_CAP = 7,   // v: value                      f: cap
  PK_SCALE = 8,      // v: value                      f: factor
  // Of training: rows of whole sequences, each a segment that begins at position 0. `adds`: to what
  // the value has; else it is set.
  PK_COPY = 9,             // v: into, from
  PK_NORM_BACK = 10,       // v: in, gradient of out, gradient of in  i: adds, 1: layer  f: eps  p: weight
  PK_MATMUL_BACK = 11,     // v: gradient of out, of in   i: matrices, adds   p: struct pk_matrix[]
  PK_TURN = 12,            // v: qkv, prepared                          p: struct pk_attention
  PK_TURN_BACK = 13,       // v: qkv, gradient of prepared, of qkv      p: struct pk_attention
  PK_ATTEND = 14,          // v: prepared, out                          p: struct pk_attention
  PK_ATTEND_BACK = 15,     // v: prepared, out, gradient of out   i: gradient of prepared   p: as above
  PK_ACTIVATE_BACK = 16,   // v: in, gradient of out, of in   i: pk_activation
  PK_LORA = 17,            // v: in or -1: low is there; low, out or -1 (adds)    p: struct pk_lora
  PK_LORA_BACK = 18,       // v: in, low, gradient of out   i: of low, of in   f: 1: sets that of in, 0: adds
                           // p: struct pk_lora
  // The gradient of logits from the loss of each row's target, times facts[0]; facts[2 + 2 * row]
  // is the sum of exp(logit - largest), the one after it the target's logit - largest. Targets
  // below 0 have no loss: 1 and 0.
  PK_ENTROPY = 19,         // v: logits, gradient          p: int32_t targets[], float facts[]
  PK_SOFT_CAP_BACK = 20,   // v: capped values, their gradient, in place     f: cap
  PK_EXPERTS_BACK = 21,    // v: in, gradient of out, of in   i: adds         p: struct pk_experts
  // Of adapters, each row with its own session's. At this slot, additions are struct pk_lora[].
  PK_ADAPT = 22,           // v: in, out (adds)            i: slot
  // At this slot, additions are rows of a prompt: that of the row's position is added.
  PK_PROMPT = 23,          // v: value                     i: slot
  // Of training: values of rows are dropped by chance, the others grow in turn.
  PK_DROP = 24             // v: in, out                   i: salt, adds      p: struct pk_dropout
};

enum pk_activation {
  PK_SWIGLU = 0,      // in is gate and up side by side, each as wide as out: silu(gate) * up
  PK_GEGLU_TANH = 1,  // gelu(gate) * up, by tanh
  PK_GEGLU_ERF = 2,
  PK_GELU_TANH = 3,  // in as wide as out
  PK_GELU_ERF = 4,
  PK_SILU = 5
};

struct pk_op {
  int32_t code;
  int32_t v[3];
  int32_t i[2];
  float f[2];
  const void* p[2];
};

enum pk_kv_type { PK_KV_F16 = 0, PK_KV_F32 = 1, PK_KV_INT8 = 2 };

// qkv rows: heads * dim queries, kv_heads * dim keys, kv_heads * dim values; out rows: heads * dim.
struct pk_attention {
  int32_t heads, kv_heads, dim;
  int32_t window;          // positions that a row sees, its own included; 0: all
  float scale;             // of scores
  float soft_cap;          // 0: none
  float norm_eps;
  int32_t rotary;          // values of each head that are turned, even; 0: none
  int32_t rope_positions;  // rows of both tables
  int32_t kv_type;         // enum pk_kv_type
  uint64_t kv_offset;      // of this block in a page that begins with block 0 of the program
  const float* rope_cos;   // (rope_positions, rotary / 2)
  const float* rope_sin;
  const float* query_norm;  // (dim) weights of the norm of single heads, or null
  const float* key_norm;
  const float* slopes;  // (heads) ALiBi, or null
  const float* sinks;   // (heads) scores of nothing, or null
};

struct pk_experts {
  int32_t count, chosen;
  int32_t shares_of_all;  // 1: shares are of the softmax over all experts; 0: over the chosen ones
  int32_t activation;     // of those with gate and up
  const struct pk_matrix* router;
  const struct pk_matrix* gate_up;  // (count), (2 * ffn, width) each
  const struct pk_matrix* down;     // (count), (width, ffn) each
};

// A low-rank addition to columns [column, column + outputs) of a product: low = (in * A) * scale,
// out += low * B. Each matrix lies in both orders, rows behind each other.
struct pk_lora {
  int32_t rank, inputs, outputs, column;
  float scale;
  int32_t stride;         // rank, up to a multiple of 16: zeros fill rows up to it
  const float* a;         // (rank, inputs)
  const float* b;         // (outputs, stride)
  const float* a_turned;  // (inputs, stride)
  const float* b_turned;  // (rank, outputs)
  float* a_gradient;      // (rank, inputs), set by PK_LORA_BACK
  float* b_gradient;      // (rank, outputs)
};

// Which values PK_DROP drops: see arithmetic.ts.
struct pk_dropout {
  uint32_t threshold;     // draws below it are dropped
  float factor;           // of the others
  const uint32_t* seeds;  // (max_rows)
};

// What a session's adapters add at one slot of a program.
struct pk_addition {
  const void* at;  // struct pk_lora[], or (count, width) floats
  int64_t count;
};

struct pk_program {
  uint32_t magic, version;
  int32_t max_rows;          // of a run
  int32_t values, ops, blocks;
  int32_t page_positions;    // a multiple of 16; 0: no attention
  int32_t float_activations; // 1: integer weights meet rows that are not rounded
  const int32_t* widths;     // (values)
  const struct pk_op* op;    // (ops)
  const int32_t* block_op;   // (blocks + 1): where each block's operations begin
  const uint64_t* block_kv;  // (blocks + 1): where each block begins in a page; the last: a whole page
  const int32_t* kept;       // (values): 1: its rows lie in the batch's `kept`; or null
};

// Rows of one session in a run, consecutive positions.
struct pk_segment {
  const uint64_t* pages;  // addresses; page n holds positions [n * page_positions, ...)
  int32_t page_count;
  int32_t kv_block;       // the program's block with which these pages begin
  int32_t position;       // of the first row
  int32_t first_row, rows;
  const struct pk_addition* additions;  // (slots of the program), or null
};

struct pk_batch {
  int32_t rows, segments;
  int32_t first_block, end_block;
  const float* hidden;  // (rows, width of value 0)
  float* result;        // the same; may be `hidden`
  float* out;           // (rows, width of value 1), or null
  const struct pk_segment* segment;
  const volatile int32_t* abort;  // not 0: end at the next operation; or null
  // Null, or two numbers: operations of these blocks that were run already, and items of the next
  // one. An aborted run goes on with the same arena. Written when it is aborted.
  int32_t* done;
  // At a multiple of 64: rows of the program's kept values, one value after the other, which
  // outlive the run. Each row takes what it takes in the arena. Null where the program keeps none.
  char* kept;
  // (rows, low_stride), written: room for rows between both matrices of each addition to a product;
  // null where no segment has additions.
  float* low;
  int64_t low_stride;
};

enum pk_status {
  PK_DONE = 0,
  PK_ABORTED = 1,
  PK_BAD_PROGRAM = 2,
  PK_BAD_BATCH = 3,  // rows, blocks, pages or positions that the program does not have
  PK_NOT_FINITE = 4  // some value of `result` or `out` is no number; pk_first_bad_row says where
};

struct pk_pool;

// Memory that a run needs, at a multiple of 64 bytes; what it holds does not outlive the run.
uint64_t pk_arena_bytes(const struct pk_program* program, int32_t threads);
int32_t pk_run(const struct pk_program* program, const struct pk_batch* batch, void* arena,
               struct pk_pool* pool);

// Copies positions [0, positions) of a page of blocks [first_block, end_block).
int32_t pk_copy_page(const struct pk_program* program, int32_t first_block, int32_t end_block,
                     const void* from, void* to, int32_t positions);

// The first row with a value that is not finite, or -1.
int32_t pk_first_bad_row(const float* values, int32_t rows, int32_t width);

#endif
