// Four lanes of plain C, with the compiler's vectors: any processor. On x86-64 they become SSE2.
#define PK_W 4
#define PK_ROWS 4
#define PK_FROWS 4
#define PK_SIGNED8 1
#define PK_BITS_MATTER 0
#define PK_FACTORS_ARE_FLOATS 1

typedef int32_t vi __attribute__((vector_size(16)));
typedef uint32_t pk_v4u __attribute__((vector_size(16)));
typedef float vf __attribute__((vector_size(16)));
typedef vf vc;
typedef struct { vi even, odd; } vq;  // int16 each: weights 0 and 2, weights 1 and 3
typedef struct { vi s, t; } vdot;
PK_DEFINE_WSCALE

static PK_INLINE vi vi_load(const void* p) {
  vi a;
  __builtin_memcpy(&a, p, 16);
  return a;
}
static PK_INLINE void vi_store(void* p, vi a) { __builtin_memcpy(p, &a, 16); }
static PK_INLINE vi vi_set1(int32_t a) { return (vi){a, a, a, a}; }
static PK_INLINE vi vi_bytes1(int a) { return vi_set1((int32_t)((uint32_t)(a & 255) * 0x01010101u)); }
static PK_INLINE vi vi_and(vi a, vi b) { return a & b; }
static PK_INLINE vi vi_or(vi a, vi b) { return a | b; }
static PK_INLINE vi vi_xor(vi a, vi b) { return a ^ b; }
static PK_INLINE vi vi_add(vi a, vi b) { return (vi)((pk_v4u)a + (pk_v4u)b); }
static PK_INLINE vi vi_sub8(vi a, vi b) {
  typedef uint8_t bytes __attribute__((vector_size(16)));
  return (vi)((bytes)a - (bytes)b);
}
static PK_INLINE vi vi_sr(vi a, int n) { return (vi)((pk_v4u)a >> n); }
static PK_INLINE vi vi_sl(vi a, int n) { return (vi)((pk_v4u)a << n); }
static PK_INLINE vi vi_sra(vi a, int n) { return a >> n; }
static PK_INLINE vi vi_u8(const void* p) {
  const uint8_t* b = p;
  return (vi){b[0], b[1], b[2], b[3]};
}
static PK_INLINE vi vi_s8(const void* p) {
  const int8_t* b = p;
  return (vi){b[0], b[1], b[2], b[3]};
}
static PK_INLINE vi vi_u16(const void* p) {
  const uint8_t* b = p;
  return (vi){pk_u16(b), pk_u16(b + 2), pk_u16(b + 4), pk_u16(b + 6)};
}
static PK_INLINE vi vi_lookup(const void* table, vi a) {
  const uint8_t* t = table;
  uint8_t b[16];
  vi_store(b, a);
  for (int i = 0; i < 16; i++) b[i] = t[b[i] & 15];
  return vi_load(b);
}
static PK_INLINE vf vf_load(const void* p) {
  vf a;
  __builtin_memcpy(&a, p, 16);
  return a;
}
static PK_INLINE void vf_store(void* p, vf a) { __builtin_memcpy(p, &a, 16); }
static PK_INLINE vf vf_set1(float a) { return (vf){a, a, a, a}; }
static PK_INLINE vf vf_zero(void) { return vf_set1(0); }
static PK_INLINE vf vf_bits(vi a) { return (vf)a; }
static PK_INLINE vf vf_from(vi a) { return __builtin_convertvector(a, vf); }
static PK_INLINE vf vf_add(vf a, vf b) { return a + b; }
static PK_INLINE vf vf_mul(vf a, vf b) { return a * b; }
static PK_INLINE vf vf_neg(vf a) { return (vf)((vi)a ^ vi_set1(INT32_MIN)); }
static PK_INLINE vf vf_half(const void* p) {
  vi bits = vi_u16(p);
  vf magnitude = (vf)((bits & 0x7fff) << 13) * 0x1p112f;
  return (vf)((vi)magnitude | vi_sl(bits & 0x8000, 16));
}
static PK_INLINE void pk_prefetch(const void* p) { __builtin_prefetch(p); }

// pk_fused for each lane, two at a time.
static PK_INLINE vf vf_fma(vf a, vf b, vf c) {
#if PK_FUSED
  vf r;
  for (int i = 0; i < 4; i++) r[i] = pk_fused(a[i], b[i], c[i]);
  return r;
#else
  typedef float f2 __attribute__((vector_size(8)));
  typedef double d2 __attribute__((vector_size(16)));
  typedef int64_t i2 __attribute__((vector_size(16)));
  vf r;
  for (int h = 0; h < 2; h++) {
    d2 x = __builtin_convertvector(((f2){a[2 * h], a[2 * h + 1]}), d2);
    d2 y = __builtin_convertvector(((f2){b[2 * h], b[2 * h + 1]}), d2);
    d2 q = __builtin_convertvector(((f2){c[2 * h], c[2 * h + 1]}), d2);
    d2 p = x * y, s = p + q, t = s - p, error = (p - (s - t)) + (q - t);
    i2 below = error < 0, inexact = below | (error > 0), beyond = below ^ (s < 0);
    i2 bits = ((i2)s + (inexact & beyond)) | (inexact & 1);
    f2 two = __builtin_convertvector((d2)bits, f2);
    r[2 * h] = two[0];
    r[2 * h + 1] = two[1];
  }
  return r;
#endif
}

static PK_INLINE vc vc_from(vi a) { return vf_from(a); }
static PK_INLINE vc vc_load(const void* p) { return vf_load(p); }
static PK_INLINE void vc_store(void* p, vc a) { vf_store(p, a); }

typedef int16_t pk_v8s __attribute__((vector_size(16)));
// Products of int16 in pairs, each pair summed as int32.
static PK_INLINE vi pk_pairs(vi a, vi b) {
#ifdef __SSE2__
  return (vi)__builtin_ia32_pmaddwd128((pk_v8s)a, (pk_v8s)b);
#else
  return ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}
static PK_INLINE vq vq_from(int kind, vi a) {
  (void)kind;
  return (vq){(vi)((pk_v8s)vi_sl(a, 8) >> 8), (vi)((pk_v8s)a >> 8)};
}

static PK_INLINE void dot_start(vdot* d, int kind, const struct pk_xblock* x) {
  if (PK_TWO(kind)) {
    d->s = vi_set1(PK_HAS_OFFSET(kind) ? x->minusLow * (1 << PK_SHIFT(kind)) : 0);
    d->t = vi_set1(PK_HAS_OFFSET(kind) ? x->minusHigh * (1 << PK_SHIFT(kind)) : 0);
  } else {
    d->s = vi_set1(PK_HAS_OFFSET(kind) ? x->minusSum * (1 << PK_SHIFT(kind)) : 0);
  }
}
static PK_INLINE void dot_quad(vdot* d, int kind, vq w, const int8_t* x, int quad,
                               const struct pk_wscale* s) {
  (void)s;
  vq four = vq_from(kind, vi_set1((int32_t)pk_u32(x + 4 * quad)));
  vi sum = vi_add(pk_pairs(w.even, four.even), pk_pairs(w.odd, four.odd));
  if (PK_TWO(kind) && quad >= 4) d->t = vi_add(d->t, sum);
  else d->s = vi_add(d->s, sum);
}
static PK_INLINE vf dot_result(const vdot* d, int kind, const struct pk_xblock* x,
                               const struct pk_wscale* s) {
  (void)x;
  if (!PK_TWO(kind)) return vf_from(d->s);
  return vf_from(d->s) * s->c0 + vf_from(d->t) * s->c1;
}
