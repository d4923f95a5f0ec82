// Eight lanes of AVX2 with FMA and F16C: a group of 16 columns is two vectors.
#include <immintrin.h>
#define PK_W 8
#define PK_ROWS 4
#define PK_FROWS 6
#ifdef __AVXVNNI__
#define PK_SIGNED8 0
#define PK_BITS_MATTER 0
#define PK_FACTORS_ARE_FLOATS 1
#else
#define PK_SIGNED8 1
#define PK_BITS_MATTER 1
#define PK_FACTORS_ARE_FLOATS 0
#endif

typedef __m256i vi;
typedef __m256 vf;
#ifdef __AVXVNNI__
typedef __m256 vc;
typedef __m256i vq;
#else
typedef __m256i vc;  // the factor twice, as int16
typedef struct { __m256i w, size; } vq;  // of 8 bits with a sign, and without it
#endif
typedef struct { vi s, t; } vdot;
PK_DEFINE_WSCALE

static PK_INLINE vi vi_load(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
static PK_INLINE void vi_store(void* p, vi a) { _mm256_storeu_si256((__m256i*)p, a); }
static PK_INLINE vi vi_set1(int32_t a) { return _mm256_set1_epi32(a); }
static PK_INLINE vi vi_bytes1(int a) { return _mm256_set1_epi8((char)a); }
static PK_INLINE vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
static PK_INLINE vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
static PK_INLINE vi vi_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
static PK_INLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
static PK_INLINE vi vi_sub8(vi a, vi b) { return _mm256_sub_epi8(a, b); }
static PK_INLINE vi vi_sr(vi a, int n) { return _mm256_srli_epi32(a, n); }
static PK_INLINE vi vi_sl(vi a, int n) { return _mm256_slli_epi32(a, n); }
static PK_INLINE vi vi_sra(vi a, int n) { return _mm256_srai_epi32(a, n); }
static PK_INLINE vi vi_u8(const void* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p));
}
static PK_INLINE vi vi_s8(const void* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p));
}
static PK_INLINE vi vi_u16(const void* p) {
  return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
}
static PK_INLINE vi vi_lookup(const void* table, vi a) {
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)table)), a);
}
static PK_INLINE vf vf_load(const void* p) { return _mm256_loadu_ps((const float*)p); }
static PK_INLINE void vf_store(void* p, vf a) { _mm256_storeu_ps((float*)p, a); }
static PK_INLINE vf vf_set1(float a) { return _mm256_set1_ps(a); }
static PK_INLINE vf vf_zero(void) { return _mm256_setzero_ps(); }
static PK_INLINE vf vf_bits(vi a) { return _mm256_castsi256_ps(a); }
static PK_INLINE vf vf_from(vi a) { return _mm256_cvtepi32_ps(a); }
static PK_INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static PK_INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static PK_INLINE vf vf_neg(vf a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
static PK_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static PK_INLINE vf vf_half(const void* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
}
static PK_INLINE void pk_prefetch(const void* p) { _mm_prefetch((const char*)p, _MM_HINT_T0); }

#ifdef __AVXVNNI__
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
  vi four = _mm256_set1_epi32((int32_t)pk_u32(x + 4 * quad));
  if (PK_TWO(kind) && quad >= 4) d->t = _mm256_dpbusd_avx_epi32(d->t, w, four);
  else d->s = _mm256_dpbusd_avx_epi32(d->s, w, four);
}
static PK_INLINE vf dot_result(const vdot* d, int kind, const struct pk_xblock* x,
                               const struct pk_wscale* s) {
  (void)x;
  if (!PK_TWO(kind)) return vf_from(d->s);
  return _mm256_fmadd_ps(vf_from(d->t), s->c1, _mm256_mul_ps(vf_from(d->s), s->c0));
}
#else
static PK_INLINE vc vc_from(vi a) {
  return _mm256_or_si256(_mm256_and_si256(a, _mm256_set1_epi32(0xffff)), _mm256_slli_epi32(a, 16));
}
static PK_INLINE vc vc_load(const void* p) { return vi_load(p); }
static PK_INLINE void vc_store(void* p, vc a) { vi_store(p, a); }

static PK_INLINE vq vq_from(int kind, vi a) {
  return (vq){a, PK_BITS(kind) > 6 ? _mm256_abs_epi8(a) : a};
}
static PK_INLINE void dot_start(vdot* d, int kind, const struct pk_xblock* x) {
  (void)kind;
  (void)x;
  d->s = d->t = _mm256_setzero_si256();
}
// Quads of 4 weights that int16 can sum: |x| is at most 127, and two products are added each time.
// 8 of 4 bits (30,480), 4 of 5 bits (31,496), 2 of 6 bits (32,004).
static PK_INLINE void dot_quad(vdot* d, int kind, vq w, const int8_t* x, int quad,
                               const struct pk_wscale* s) {
  vi four = _mm256_set1_epi32((int32_t)pk_u32(x + 4 * quad));
  int bits = PK_BITS(kind), two = PK_TWO(kind);
  if (bits > 6) {
    // maddubs wants one side without sign: |w| * (x with w's sign), at most 2 * 128 * 127.
    vi pairs = _mm256_maddubs_epi16(w.size, _mm256_sign_epi8(four, w.w));
    d->s = _mm256_add_epi32(d->s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    return;
  }
  int every = bits == 6 ? 2 : bits == 5 || two ? 4 : 8;
  vi products = _mm256_maddubs_epi16(w.w, four);
  d->s = quad % every == 0 ? products : _mm256_add_epi16(d->s, products);
  if (every < 8 && quad % every == every - 1) {
    vi factor = !two ? _mm256_set1_epi16(1) : quad < 4 ? s->c0 : s->c1;
    vi sum = _mm256_madd_epi16(d->s, factor);
    d->t = quad < every ? sum : _mm256_add_epi32(d->t, sum);
  }
}
static PK_INLINE vf dot_result(const vdot* d, int kind, const struct pk_xblock* x,
                               const struct pk_wscale* s) {
  int bits = PK_BITS(kind), two = PK_TWO(kind);
  vi sum;
  if (bits > 6) sum = d->s;
  else sum = bits < 5 && !two ? _mm256_madd_epi16(d->s, _mm256_set1_epi16(1)) : d->t;
  if (PK_HAS_OFFSET(kind)) {
    vi minus = two ? _mm256_madd_epi16(_mm256_blend_epi16(s->c0, s->c1, 0xaa),
                                       _mm256_set1_epi32((int32_t)pk_u32(x->minusPair)))
                   : _mm256_set1_epi32(x->minusSum);
    sum = _mm256_add_epi32(sum, _mm256_slli_epi32(minus, PK_SHIFT(kind)));
  }
  return vf_from(sum);
}
#endif
