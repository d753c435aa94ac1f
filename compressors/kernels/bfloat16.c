/* float32 with its mantissa rounded to 8 bits, as bfloat16.py describes it. */
#include "kernels.h"

/* To the nearest, ties to even, beyond the largest that one. Returns 0 where NaN or infinity is among the values. */
WIDE int bfloat16_encode(const float *values, int64_t n, uint8_t *codes) {
    int32_t largest = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t bits, magnitude, rounded;
        memcpy(&bits, values + i, sizeof bits);
        magnitude = bits & MAGNITUDE;
        largest = magnitude > largest ? magnitude : largest;
        rounded = (int32_t)(((uint32_t)magnitude + 0x7fff + ((uint32_t)magnitude >> 16 & 1)) >> 16);
        rounded = rounded > 0x7f7f ? 0x7f7f : rounded;
        const uint16_t pattern = (uint16_t)(rounded | ((uint32_t)bits >> 31) << 15);
        memcpy(codes + 2 * i, &pattern, sizeof pattern); /* frames are not aligned */
    }
    return (uint32_t)largest < INFINITE;
}

/* target += factor * what the codes carry. */
WIDE void bfloat16_add(const uint8_t *codes, int64_t n, float *target, float factor) {
    for (int64_t i = 0; i < n; i++) {
        uint16_t pattern;
        memcpy(&pattern, codes + 2 * i, sizeof pattern);
        const uint32_t bits = (uint32_t)pattern << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        const float scaled = value * factor; /* rounded before the sum is */
        target[i] += scaled;
    }
}

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
