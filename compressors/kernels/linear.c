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

/* Returns 0 where NaN or infinity is among the values. Scales: at most `largest`, and 0 below `tiny`. */
WIDE int linear_encode(const float *values, int64_t n, int bits, float largest, float tiny, float *scales,
                       uint8_t *codes) {
    const float top = (float)((1 << (bits - 1)) - 1);
    for (int64_t start = 0; start < n; start += BLOCK) {
        const int64_t size = n - start < BLOCK ? n - start : BLOCK;
        const uint32_t magnitude = largest_of(values + start, size);
        if (magnitude >= INFINITE) return 0;
        float scale;
        memcpy(&scale, &magnitude, sizeof scale);
        scale /= top;
        scale = scale > largest ? largest : scale;
        scale = scale < tiny ? 0.0f : scale;
        *scales++ = scale;
        const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
        if (bits == 8) {
            quantize(values + start, size, inverse, top, (int8_t *)codes + start);
            continue;
        }
        int8_t numbers[BLOCK] = {0};
        quantize(values + start, size, inverse, top, numbers);
        uint8_t *own = codes + start / 2;
        for (int64_t i = 0; i < (size + 1) / 2; i++)
            own[i] = (uint8_t)((numbers[2 * i] & 15) | (numbers[2 * i + 1] & 15) << 4);
    }
    return 1;
}

static inline void add(float *target, float number, float scale, float factor) {
    const float decoded = number * scale, scaled = decoded * factor; /* each operation is rounded on its own */
    *target += scaled;
}

/* target += factor * what the codes carry. */
WIDE void linear_add(const uint8_t *codes, const float *scales, int64_t n, int bits, float *target, float factor) {
    for (int64_t start = 0; start < n; start += BLOCK) {
        const int64_t size = n - start < BLOCK ? n - start : BLOCK;
        const float scale = *scales++;
        float *own = target + start;
        if (bits == 8) {
            const int8_t *numbers = (const int8_t *)codes + start;
            for (int64_t i = 0; i < size; i++) add(own + i, (float)numbers[i], scale, factor);
            continue;
        }
        const uint8_t *pairs = codes + start / 2;
        int8_t numbers[BLOCK + 1];
        for (int64_t i = 0; i < (size + 1) / 2; i++) {
            numbers[2 * i] = (int8_t)((pairs[i] & 15 ^ 8) - 8);
            numbers[2 * i + 1] = (int8_t)((pairs[i] >> 4 ^ 8) - 8);
        }
        for (int64_t i = 0; i < size; i++) add(own + i, (float)numbers[i], scale, factor);
    }
}
