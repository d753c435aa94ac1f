/* The loops that numpy cannot fuse. Each gives the bits of the numpy code that it stands in for. */
#ifndef KIMAD_KERNELS_H
#define KIMAD_KERNELS_H

#include <stdint.h>
#include <string.h>

#define BLOCK 256                 /* entries that share a scale, values that share low and span */
#define MAGNITUDE 0x7fffffffu     /* all bits of a float32 but the sign */
#define INFINITE 0x7f800000u      /* this magnitude or above: infinity or NaN */

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
int64_t scan(float *values, const float *gradient, int64_t n, float threshold, int64_t position, int32_t *indices,
             float *kept, int64_t count, int64_t room, int64_t *reached);
int64_t trim(int32_t *indices, float *kept, int64_t count, int64_t k, float *between);
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

static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The magnitude as a whole number; the order of these is that of the floats, and NaN is above all. */
static inline int32_t magnitude_of(const float *value) { return (int32_t)(bits_of(*value) & MAGNITUDE); }

#endif
