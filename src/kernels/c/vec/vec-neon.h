// Four lanes of NEON with dot products, and products of matrices where they are there: a group of
// 16 columns is four vectors. Weights are signed.
#include <arm_neon.h>
#define PK_W 4
#define PK_ROWS 8
#define PK_FROWS 6
#define PK_SIGNED8 1
#define PK_BITS_MATTER 0
#define PK_FACTORS_ARE_FLOATS 0

typedef int32x4_t vi;
typedef float32x4_t vf;
typedef int32x4_t vc;
typedef int8x16_t vq;
typedef struct { vi s, t; } vdot;
PK_DEFINE_WSCALE

#define PK_AS8(a) vreinterpretq_u8_s32(a)
#define PK_OF8(a) vreinterpretq_s32_u8(a)
static PK_INLINE vi vi_load(const void* p) { return PK_OF8(vld1q_u8((const uint8_t*)p)); }
static PK_INLINE void vi_store(void* p, vi a) { vst1q_u8((uint8_t*)p, PK_AS8(a)); }
static PK_INLINE vi vi_set1(int32_t a) { return vdupq_n_s32(a); }
static PK_INLINE vi vi_bytes1(int a) { return vreinterpretq_s32_s8(vdupq_n_s8((int8_t)a)); }
static PK_INLINE vi vi_and(vi a, vi b) { return vandq_s32(a, b); }
static PK_INLINE vi vi_or(vi a, vi b) { return vorrq_s32(a, b); }
static PK_INLINE vi vi_xor(vi a, vi b) { return veorq_s32(a, b); }
static PK_INLINE vi vi_add(vi a, vi b) { return vaddq_s32(a, b); }
static PK_INLINE vi vi_sub8(vi a, vi b) { return PK_OF8(vsubq_u8(PK_AS8(a), PK_AS8(b))); }
static PK_INLINE vi vi_sr(vi a, int n) {
  return vreinterpretq_s32_u32(vreinterpretq_u32_s32(a) >> n);
}
static PK_INLINE vi vi_sl(vi a, int n) { return vreinterpretq_s32_u32(vreinterpretq_u32_s32(a) << n); }
static PK_INLINE vi vi_sra(vi a, int n) { return a >> n; }
static PK_INLINE vi vi_u8(const void* p) {
  uint8x8_t bytes = vreinterpret_u8_u32(vdup_n_u32(pk_u32(p)));
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))));
}
static PK_INLINE vi vi_s8(const void* p) {
  int8x8_t bytes = vreinterpret_s8_u32(vdup_n_u32(pk_u32(p)));
  return vmovl_s16(vget_low_s16(vmovl_s8(bytes)));
}
static PK_INLINE vi vi_u16(const void* p) {
  return vreinterpretq_s32_u32(vmovl_u16(vld1_u16((const uint16_t*)p)));
}
static PK_INLINE vi vi_lookup(const void* table, vi a) {
  return PK_OF8(vqtbl1q_u8(vld1q_u8((const uint8_t*)table), PK_AS8(a)));
}
static PK_INLINE vf vf_load(const void* p) { return vld1q_f32((const float*)p); }
static PK_INLINE void vf_store(void* p, vf a) { vst1q_f32((float*)p, a); }
static PK_INLINE vf vf_set1(float a) { return vdupq_n_f32(a); }
static PK_INLINE vf vf_zero(void) { return vdupq_n_f32(0); }
static PK_INLINE vf vf_bits(vi a) { return vreinterpretq_f32_s32(a); }
static PK_INLINE vf vf_from(vi a) { return vcvtq_f32_s32(a); }
static PK_INLINE vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
static PK_INLINE vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
static PK_INLINE vf vf_neg(vf a) { return vnegq_f32(a); }
static PK_INLINE vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static PK_INLINE vf vf_half(const void* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t*)p)));
}
static PK_INLINE void pk_prefetch(const void* p) { __builtin_prefetch(p); }

static PK_INLINE vc vc_from(vi a) { return a; }
static PK_INLINE vc vc_load(const void* p) { return vi_load(p); }
static PK_INLINE void vc_store(void* p, vc a) { vi_store(p, a); }
static PK_INLINE vq vq_from(int kind, vi a) { (void)kind; return vreinterpretq_s8_s32(a); }

static PK_INLINE void dot_start(vdot* d, int kind, const struct pk_xblock* x) {
  if (PK_TWO(kind)) {
    d->s = vi_set1(PK_HAS_OFFSET(kind) ? x->minusLow * (1 << PK_SHIFT(kind)) : 0);
    d->t = vi_set1(PK_HAS_OFFSET(kind) ? x->minusHigh * (1 << PK_SHIFT(kind)) : 0);
  } else {
    d->s = vi_set1(PK_HAS_OFFSET(kind) ? x->minusSum * (1 << PK_SHIFT(kind)) : 0);
  }
}
// A quad of x is a lane of 16 values, which the instruction takes as it is.
static PK_INLINE int32x4_t pk_dot_lane(int32x4_t sum, vq w, int8x16_t x, int lane) {
  switch (lane) {
    case 0:
      return vdotq_laneq_s32(sum, w, x, 0);
    case 1:
      return vdotq_laneq_s32(sum, w, x, 1);
    case 2:
      return vdotq_laneq_s32(sum, w, x, 2);
    default:
      return vdotq_laneq_s32(sum, w, x, 3);
  }
}
static PK_INLINE void dot_quad(vdot* d, int kind, vq w, const int8_t* x, int quad,
                               const struct pk_wscale* s) {
  (void)s;
  int8x16_t four = vld1q_s8(x + 16 * (quad >> 2));
  if (PK_TWO(kind) && quad >= 4) d->t = pk_dot_lane(d->t, w, four, quad & 3);
  else d->s = pk_dot_lane(d->s, w, four, quad & 3);
}
static PK_INLINE vf dot_result(const vdot* d, int kind, const struct pk_xblock* x,
                               const struct pk_wscale* s) {
  (void)x;
  if (!PK_TWO(kind)) return vf_from(d->s);
  return vf_from(vmlaq_s32(vmulq_s32(d->s, s->c0), d->t, s->c1));
}

#ifdef __ARM_FEATURE_MATMUL_INT8
// Two rows of a block in each other's memory, as the instruction takes them: 8 values of the first,
// the same 8 of the second, four times.
static PK_INLINE void pk_pair_rows(struct pk_xblock* x) {
  int8x8_t first[4], second[4];
  for (int i = 0; i < 4; i++) {
    first[i] = vld1_s8(x[0].q + 8 * i);
    second[i] = vld1_s8(x[1].q + 8 * i);
  }
  for (int i = 0; i < 4; i++) {
    vst1q_s8(x[i >> 1].q + 16 * (i & 1), vcombine_s8(first[i], second[i]));
  }
}

// What dot_quad does for all quads and R rows in pairs; `quads` has 64 bytes for each. A sum is of
// two rows times two columns.
static PK_INLINE void dot_pairs(vdot* d, int kind, int R, const uint8_t* quads, const struct pk_xblock* x) {
  vi sums[2][PK_ROWS / 2][2];
  PK_UNROLL for (int p = 0; p < R / 2; p++) {
    const vdot *a = d + 2 * p, *b = a + 1;
    sums[0][p][0] = sums[0][p][1] = vcombine_s32(vget_low_s32(a->s), vget_low_s32(b->s));
    if (PK_TWO(kind))
      sums[1][p][0] = sums[1][p][1] = vcombine_s32(vget_low_s32(a->t), vget_low_s32(b->t));
  }
  PK_UNROLL for (int i = 0; i < 4; i++) {
    vi low = vi_load(quads + 128 * i), high = vi_load(quads + 128 * i + 64);
    vq left = vreinterpretq_s8_s32(vzip1q_s32(low, high));
    vq right = vreinterpretq_s8_s32(vzip2q_s32(low, high));
    int half = PK_TWO(kind) && i >= 2;
    PK_UNROLL for (int p = 0; p < R / 2; p++) {
      int8x16_t rows = vld1q_s8(x[2 * p + (i >> 1)].q + 16 * (i & 1));
      sums[half][p][0] = vmmlaq_s32(sums[half][p][0], rows, left);
      sums[half][p][1] = vmmlaq_s32(sums[half][p][1], rows, right);
    }
  }
  PK_UNROLL for (int p = 0; p < R / 2; p++) {
    PK_UNROLL for (int half = 0; half < 1 + PK_TWO(kind); half++) {
      int64x2_t left = vreinterpretq_s64_s32(sums[half][p][0]);
      int64x2_t right = vreinterpretq_s64_s32(sums[half][p][1]);
      vi first = vreinterpretq_s32_s64(vzip1q_s64(left, right));
      vi second = vreinterpretq_s32_s64(vzip2q_s64(left, right));
      if (half == 0) d[2 * p].s = first, d[2 * p + 1].s = second;
      else d[2 * p].t = first, d[2 * p + 1].t = second;
    }
  }
}
#endif
