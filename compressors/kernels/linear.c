/* Whole multiples of a block's scale in 8 or 4 bits, to the nearest, as linear.py describes them. */
#include "kernels.h"

#define ROUNDER 12582912.0f /* 1.5 * 2^23: adding and subtracting it rounds to whole numbers, half to even */

static inline uint32_t largest_of(const float *values, int64_t size) {
    int32_t largest = 0;
    for (int64_t i = 0; i < size; i++) {
        const int32_t magnitude = magnitude_of(values + i);
        largest = magnitude > largest ? magnitude : largest;
    }
    return (uint32_t)largest;
}

static inline void quantize(const float *values, int64_t size, float inverse, float top, int8_t *numbers) {
    for (int64_t i = 0; i < size; i++) {
        float scaled = values[i] * inverse;
        scaled = scaled > top ? top : scaled;
        scaled = scaled < -top ? -top : scaled;
        numbers[i] = (int8_t)((int32_t)(scaled + ROUNDER - ROUNDER));
    }
}

static inline void pack(const int8_t *numbers, int64_t size, uint8_t *codes) {
    for (int64_t i = 0; i < (size + 1) / 2; i++)
        codes[i] = (uint8_t)((numbers[2 * i] & 15) | (numbers[2 * i + 1] & 15) << 4);
}

static inline void unpack(const uint8_t *codes, int64_t size, int8_t *numbers) {
    for (int64_t i = 0; i < (size + 1) / 2; i++) {
        numbers[2 * i] = (int8_t)((codes[i] & 15 ^ 8) - 8);
        numbers[2 * i + 1] = (int8_t)((codes[i] >> 4 ^ 8) - 8);
    }
}

/* target += factor * scale * numbers, each operation rounded on its own. */
static inline void add(float *target, const int8_t *numbers, int64_t size, float scale, float factor) {
    for (int64_t i = 0; i < size; i++) {
        const float decoded = (float)numbers[i] * scale, scaled = decoded * factor;
        target[i] += scaled;
    }
}

/*
 * With a gradient: values += gradient first, and values -= what was coded last, block by block.
 * Returns 0 where NaN or infinity is among the values. Scales: at most `largest`, and 0 below `tiny`.
 */
WIDE int linear_encode(float *values, const float *gradient, int64_t n, int bits, float largest, float tiny,
                       uint8_t *body) {
    const float top = (float)((1 << (bits - 1)) - 1);
    uint8_t *scales = body, *codes = body + 4 * ((n + BLOCK - 1) / BLOCK);
    for (int64_t start = 0; start < n; start += BLOCK) {
        const int64_t size = n - start < BLOCK ? n - start : BLOCK;
        float *own = values + start;
        if (gradient)
            for (int64_t i = 0; i < size; i++) own[i] += gradient[start + i];
        const uint32_t magnitude = largest_of(own, size);
        if (magnitude >= INFINITE) return 0;
        float scale;
        memcpy(&scale, &magnitude, sizeof scale);
        scale /= top;
        scale = scale > largest ? largest : scale;
        scale = scale < tiny ? 0.0f : scale;
        memcpy(scales, &scale, sizeof scale); /* frames are not aligned */
        scales += sizeof scale;
        const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
        int8_t packed[BLOCK + 1] = {0}, *numbers = bits == 8 ? (int8_t *)codes + start : packed;
        quantize(own, size, inverse, top, numbers);
        if (bits == 4) pack(packed, size, codes + start / 2);
        if (gradient) add(own, numbers, size, scale, -1.0f);
    }
    return 1;
}

/* target += factor * what the body carries. */
WIDE void linear_add(const uint8_t *body, int64_t n, int bits, float *target, float factor) {
    const uint8_t *scales = body, *codes = body + 4 * ((n + BLOCK - 1) / BLOCK);
    for (int64_t start = 0; start < n; start += BLOCK) {
        const int64_t size = n - start < BLOCK ? n - start : BLOCK;
        float scale;
        memcpy(&scale, scales, sizeof scale);
        scales += sizeof scale;
        int8_t packed[BLOCK + 1];
        if (bits == 4) unpack(codes + start / 2, size, packed);
        add(target + start, bits == 8 ? (const int8_t *)codes + start : packed, size, scale, factor);
    }
}
