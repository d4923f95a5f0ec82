// Decoded weights of some blocks of a group, in a thread's own memory, which the rows of a tile
// share.
#ifndef PK_PANEL_H
#define PK_PANEL_H
#include "decode.h"

enum { PK_PANEL_BLOCKS = 16, PK_PANEL_GROUPS = 8, PK_MAX_ROWS = 16 };

// A block of 32 for 16 columns. `words` are scale, c0, c1, min0, min1, as many as the kind has.
struct pk_pblock {
  uint8_t quads[8][64];
  uint8_t words[5][64];
};

static PK_INLINE void pk_panel_scales(const struct pk_pblock* b, int kind, int part, struct pk_wscale* s) {
  s->scale = vf_load(b->words[0] + PK_AT(part));
  if (PK_TWO(kind)) {
    s->c0 = vc_load(b->words[1] + PK_AT(part));
    s->c1 = vc_load(b->words[2] + PK_AT(part));
  }
  if (PK_MINIMUM(kind)) s->min0 = vf_load(b->words[3] + PK_AT(part));
  if (PK_MINIMUM(kind) && PK_TWO(kind)) s->min1 = vf_load(b->words[4] + PK_AT(part));
}

// `sign`: weights are stored with it, what is subtracted from each is gone.
#define PK_DEFINE_PANEL(form, function, sign)                                                   \
  static void function(const struct pk_planes* p, size_t block, size_t count, struct pk_pblock* b) { \
    enum { KIND = PK_KIND_##form };                                                             \
    for (; count > 0; count--, block++, b++) {                                                  \
      for (int part = 0; part < 16 / PK_W; part++) {                                            \
        struct pk_wscale s;                                                                     \
        for (int quad = 0; quad < 8; quad++) {                                                  \
          vi four = form##_quad(p, block, quad, part);                                          \
          if (sign && PK_HAS_OFFSET(KIND)) four = vi_sub8(four, vi_bytes1(1 << (PK_SHIFT(KIND) & 7))); \
          vi_store(b->quads[quad] + PK_AT(part), four);                                         \
        }                                                                                       \
        form##_scales(p, block, part, &s);                                                      \
        vf_store(b->words[0] + PK_AT(part), s.scale);                                           \
        if (PK_TWO(KIND)) {                                                                     \
          vc_store(b->words[1] + PK_AT(part), s.c0);                                            \
          vc_store(b->words[2] + PK_AT(part), s.c1);                                            \
        }                                                                                       \
        if (PK_MINIMUM(KIND)) vf_store(b->words[3] + PK_AT(part), s.min0);                      \
        if (PK_MINIMUM(KIND) && PK_TWO(KIND)) vf_store(b->words[4] + PK_AT(part), s.min1);      \
      }                                                                                         \
    }                                                                                           \
  }

typedef void (*pk_panel_function)(const struct pk_planes*, size_t, size_t, struct pk_pblock*);

#define PK_PANEL(form) PK_DEFINE_PANEL(form, form##_panel, 0)
PK_EACH_INTEGER_FORM(PK_PANEL)
static pk_panel_function pk_panel_of(int32_t form) {
#define PK_PANEL_CASE(name) \
  case PK_##name:           \
    return name##_panel;
  switch (form) {
    PK_EACH_INTEGER_FORM(PK_PANEL_CASE)
    default:
      return 0;
  }
}

#ifdef __AMX_INT8__
#define PK_SIGNED_PANEL(form) PK_DEFINE_PANEL(form, form##_signed_panel, 1)
PK_EACH_INTEGER_FORM(PK_SIGNED_PANEL)
static pk_panel_function pk_signed_panel_of(int32_t form) {
#define PK_SIGNED_PANEL_CASE(name) \
  case PK_##name:                  \
    return name##_signed_panel;
  switch (form) {
    PK_EACH_INTEGER_FORM(PK_SIGNED_PANEL_CASE)
    default:
      return 0;
  }
}
#endif

static int pk_kind_of(int32_t form) {
#define PK_KIND_CASE(name) \
  case PK_##name:          \
    return PK_KIND_##name;
  switch (form) {
    PK_EACH_INTEGER_FORM(PK_KIND_CASE)
    default:
      return 0;
  }
}

#endif
