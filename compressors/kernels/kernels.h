/* The loops that numpy cannot fuse. Each gives the bits of the numpy code that it stands in for. */
#ifndef KIMAD_KERNELS_H
#define KIMAD_KERNELS_H

#include <stdint.h>
#include <string.h>

#define BLOCK 256                 /* entries that share a scale, values that share low and span */
#define MAGNITUDE 0x7fffffffu     /* all bits of a float32 but the sign */
#define NORMAL 0x00800000         /* the smallest magnitude that does not count as zero */
#define INFINITE 0x7f800000       /* this magnitude or above: infinity or NaN */

/* frame.py: the header, and the numbers of the operators and codes that kernels know */
#define HEADER 16
enum { DROP = 0, BFLOAT16 = 2, INT8 = 3, TOPK = 4, THRESHOLD = 7, INT4 = 14, INT4_STOCHASTIC = 15, INT8_STOCHASTIC = 16 };
enum { LOG4 = 3 };    /* value code */
enum { WIDEST = 30 }; /* index codes up to here are Elias-Fano with so many low bits */

/* One object file serves old and new processors: the loader takes the widest version. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define HAVE_WIDE
#define WIDE __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define WIDE
#endif

/* header.c */
uint32_t header_crc(void);

/* select.c */
int64_t select_room(int64_t n, int64_t k);
int64_t select_largest(float *values, const float *gradient, int64_t n, int64_t k, int32_t *indices, float *kept,
                       float *between);
int add_at(float *target, int64_t n, const int32_t *indices, const float *decoded, int64_t count, float scale);

/* elias_fano.c */
int64_t elias_fano_bytes(int64_t n, int64_t k, int low_bits);
int elias_fano_encode(const int32_t *indices, int64_t k, int64_t n, int low_bits, uint8_t *out, int64_t bytes);
int elias_fano_decode(const uint8_t *body, int64_t bytes, int64_t n, int64_t k, int low_bits, int32_t *indices);

/* log4.c */
int log4_encode(const float *values, int64_t k, const float *levels, uint8_t *body);
int log4_decode(const uint8_t *body, int64_t k, const float *levels, float *out);

/* linear.c */
int linear_encode(float *values, const float *gradient, int64_t n, int bits, float largest, float tiny, uint8_t *body);
void linear_add(const uint8_t *body, int64_t n, int bits, float *target, float factor);

/* bfloat16.c */
int bfloat16_encode(float *values, const float *gradient, int64_t n, uint8_t *codes);
int bfloat16_finite(const uint8_t *codes, int64_t n);
void bfloat16_add(const uint8_t *codes, int64_t n, float *target, float factor);

/* frame.c */
int add_frame(const uint8_t *frame, int64_t bytes, float *target, int64_t n, float factor, float largest,
              const float *levels, int32_t *indices, float *kept, int64_t room);

/* batch.c; `Job` in __init__.py has the same fields */
typedef struct {
    float *values;         /* what is encoded, or added to */
    const float *gradient; /* or NULL */
    int64_t n, k;          /* entries; those that a sparse frame keeps */
    int64_t start, bytes;  /* where the frame lies */
    int32_t codec, index_code;
    float factor; /* what is added is multiplied by it */
    int32_t unused;
} job;
int64_t encode_frames(const job *jobs, int64_t count, uint8_t *frames, float largest, float tiny, const float *levels,
                      int32_t *indices, float *kept, float *between);
int64_t add_frames(const job *jobs, int64_t from, int64_t count, const uint8_t *frames, float largest,
                   const float *levels, int32_t *indices, float *kept, int64_t room);

static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The magnitude as a whole number; the order of these is that of the floats, and NaN is above all. */
static inline int32_t magnitude_of(const float *value) { return (int32_t)(bits_of(*value) & MAGNITUDE); }

#endif
