/* float32 with its mantissa rounded to 8 bits, as bfloat16.py describes it. */
#include "kernels.h"

/* The magnitude that was rounded, as a whole number; ties to even, beyond the largest bfloat16 that one. */
static inline int32_t encode(const float *values, int64_t size, uint8_t *codes) {
    int32_t largest = 0;
    for (int64_t i = 0; i < size; i++) {
        const int32_t magnitude = magnitude_of(values + i);
        largest = magnitude > largest ? magnitude : largest;
        int32_t rounded = (int32_t)(((uint32_t)magnitude + 0x7fff + ((uint32_t)magnitude >> 16 & 1)) >> 16);
        rounded = rounded > 0x7f7f ? 0x7f7f : rounded;
        const uint16_t pattern = (uint16_t)(rounded | bits_of(values[i]) >> 31 << 15);
        memcpy(codes + 2 * i, &pattern, sizeof pattern); /* frames are not aligned */
    }
    return largest;
}

static inline void add(const uint8_t *codes, int64_t size, float *target, float factor) {
    for (int64_t i = 0; i < size; i++) {
        uint16_t pattern;
        memcpy(&pattern, codes + 2 * i, sizeof pattern);
        const uint32_t bits = (uint32_t)pattern << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        const float scaled = value * factor; /* rounded before the sum is */
        target[i] += scaled;
    }
}

/*
 * With a gradient: values += gradient first, and values -= what was coded last, block by block.
 * Returns 0 where NaN or infinity is among the values.
 */
WIDE int bfloat16_encode(float *values, const float *gradient, int64_t n, uint8_t *codes) {
    for (int64_t start = 0; start < n; start += BLOCK) {
        const int64_t size = n - start < BLOCK ? n - start : BLOCK;
        float *own = values + start;
        if (gradient)
            for (int64_t i = 0; i < size; i++) own[i] += gradient[start + i];
        if ((uint32_t)encode(own, size, codes + 2 * start) >= INFINITE) return 0;
        if (gradient) add(codes + 2 * start, size, own, -1.0f);
    }
    return 1;
}

/* target += factor * what the codes carry. */
WIDE void bfloat16_add(const uint8_t *codes, int64_t n, float *target, float factor) { add(codes, n, target, factor); }

/* Whether no code is infinity or NaN. */
WIDE int bfloat16_finite(const uint8_t *codes, int64_t n) {
    uint16_t largest = 0;
    for (int64_t i = 0; i < n; i++) {
        uint16_t pattern;
        memcpy(&pattern, codes + 2 * i, sizeof pattern);
        pattern &= 0x7fff;
        largest = pattern > largest ? pattern : largest;
    }
    return largest < INFINITE >> 16;
}
