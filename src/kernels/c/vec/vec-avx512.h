// Sixteen lanes of AVX-512 with VNNI: a group of 16 columns is one vector.
#include <immintrin.h>
#define PK_W 16
#define PK_ROWS 8    // rows of a tile of integers
#define PK_FROWS 12  // rows of a tile of floats
#define PK_SIGNED8 0
#define PK_BITS_MATTER 0
#define PK_FACTORS_ARE_FLOATS 1

typedef __m512i vi;
typedef __m512 vf;
typedef __m512 vc;   // a factor of integer sums
typedef __m512i vq;  // four weights of each column, ready for a dot
typedef struct { vi s, t; } vdot;
PK_DEFINE_WSCALE

static PK_INLINE vi vi_load(const void* p) { return _mm512_loadu_si512(p); }
static PK_INLINE void vi_store(void* p, vi a) { _mm512_storeu_si512(p, a); }
static PK_INLINE vi vi_set1(int32_t a) { return _mm512_set1_epi32(a); }
static PK_INLINE vi vi_bytes1(int a) { return _mm512_set1_epi8((char)a); }
static PK_INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
static PK_INLINE vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }
static PK_INLINE vi vi_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
static PK_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
static PK_INLINE vi vi_sub8(vi a, vi b) { return _mm512_sub_epi8(a, b); }
static PK_INLINE vi vi_sr(vi a, int n) { return _mm512_srli_epi32(a, (unsigned)n); }
static PK_INLINE vi vi_sl(vi a, int n) { return _mm512_slli_epi32(a, (unsigned)n); }
static PK_INLINE vi vi_sra(vi a, int n) { return _mm512_srai_epi32(a, (unsigned)n); }
static PK_INLINE vi vi_u8(const void* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));
}
static PK_INLINE vi vi_s8(const void* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p));
}
static PK_INLINE vi vi_u16(const void* p) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
}
static PK_INLINE vi vi_lookup(const void* table, vi a) {
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)table)), a);
}
static PK_INLINE vf vf_load(const void* p) { return _mm512_loadu_ps(p); }
static PK_INLINE void vf_store(void* p, vf a) { _mm512_storeu_ps(p, a); }
static PK_INLINE vf vf_set1(float a) { return _mm512_set1_ps(a); }
static PK_INLINE vf vf_zero(void) { return _mm512_setzero_ps(); }
static PK_INLINE vf vf_bits(vi a) { return _mm512_castsi512_ps(a); }
static PK_INLINE vf vf_from(vi a) { return _mm512_cvtepi32_ps(a); }
static PK_INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static PK_INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static PK_INLINE vf vf_neg(vf a) {
  return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), _mm512_set1_epi32(INT32_MIN)));
}
static PK_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static PK_INLINE vf vf_half(const void* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
}
static PK_INLINE void pk_prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }

static PK_INLINE vc vc_from(vi a) { return vf_from(a); }
static PK_INLINE vc vc_load(const void* p) { return vf_load(p); }
static PK_INLINE void vc_store(void* p, vc a) { vf_store(p, a); }
static PK_INLINE vq vq_from(int kind, vi a) { (void)kind; return a; }

static PK_INLINE void dot_start(vdot* d, int kind, const struct pk_xblock* x) {
  if (PK_TWO(kind)) {
    d->s = PK_HAS_OFFSET(kind) ? vi_sl(vi_set1(x->minusLow), PK_SHIFT(kind)) : vi_set1(0);
    d->t = PK_HAS_OFFSET(kind) ? vi_sl(vi_set1(x->minusHigh), PK_SHIFT(kind)) : vi_set1(0);
  } else {
    d->s = PK_HAS_OFFSET(kind) ? vi_sl(vi_set1(x->minusSum), PK_SHIFT(kind)) : vi_set1(0);
  }
}
static PK_INLINE void dot_quad(vdot* d, int kind, vq w, const int8_t* x, int quad,
                               const struct pk_wscale* s) {
  (void)s;
  vi four = _mm512_set1_epi32((int32_t)pk_u32(x + 4 * quad));
  if (PK_TWO(kind) && quad >= 4) d->t = _mm512_dpbusd_epi32(d->t, w, four);
  else d->s = _mm512_dpbusd_epi32(d->s, w, four);
}
// The sum of a block times its two factors, if there are two: an integer below 2^24, so exact.
static PK_INLINE vf dot_result(const vdot* d, int kind, const struct pk_xblock* x,
                               const struct pk_wscale* s) {
  (void)x;
  if (!PK_TWO(kind)) return vf_from(d->s);
  return _mm512_fmadd_ps(vf_from(d->t), s->c1, _mm512_mul_ps(vf_from(d->s), s->c0));
}
