/* Four-bit logarithmic values, as log4.py describes them: a body is low, span and codes. */
#include "kernels.h"

#define LOWEST (-126 * 256)      /* log2 of the smallest level, in 1/256 octave */
#define LEVELS (254 * 256)       /* all levels: 2^(x / 256) from LOWEST on */
#define MAX_SPAN (8 * 256)

/* The number of the level that is nearest; the lower one of two that are as near. */
static int nearest(const float *levels, int32_t magnitude) {
    int low = 0, high = LEVELS - 1; /* the first level whose middle to the next is not below the magnitude */
    while (low < high) {
        const int at = (low + high) / 2;
        const float half = 0.5f * levels[at], other = 0.5f * levels[at + 1];
        if ((int32_t)bits_of(half + other) < magnitude)
            low = at + 1;
        else
            high = at;
    }
    return low;
}

/* The 8 magnitudes of a block. */
static inline void levels_of(const float *levels, int low, int span, float *own) {
    for (int c = 0; c < 8; c++) own[c] = levels[low + (2 * span * c + 7) / 14];
}

static inline void quantize(const float *values, int64_t size, const float *own, uint8_t *codes) {
    int32_t middle[7], numbers[BLOCK + 1];
    for (int c = 0; c < 7; c++) {
        const float half = 0.5f * own[c], other = 0.5f * own[c + 1];
        middle[c] = (int32_t)bits_of(half + other);
    }
    for (int64_t i = 0; i < size; i++) {
        const int32_t magnitude = magnitude_of(values + i);
        const int32_t number = (magnitude > middle[0]) + (magnitude > middle[1]) + (magnitude > middle[2]) +
                               (magnitude > middle[3]) + (magnitude > middle[4]) + (magnitude > middle[5]) +
                               (magnitude > middle[6]);
        numbers[i] = number | (int32_t)(bits_of(values[i]) >> 31) << 3;
    }
    numbers[size] = 0;
    for (int64_t i = 0; i < size; i += 2) *codes++ = (uint8_t)(numbers[i] | numbers[i + 1] << 4);
}

/* Returns 0, and the body is of no use, where NaN or infinity is among the values. */
WIDE int log4_encode(const float *values, int64_t k, const float *levels, uint8_t *body) {
    const int64_t blocks = (k + BLOCK - 1) / BLOCK;
    uint8_t *codes = body + 4 * blocks;
    for (int64_t b = 0; b < blocks; b++) {
        const float *own = values + b * BLOCK, *end = b + 1 < blocks ? own + BLOCK : values + k;
        int32_t lowest = MAGNITUDE, highest = 0;
        for (const float *v = own; v < end; v++) {
            const int32_t magnitude = magnitude_of(v);
            lowest = magnitude < lowest ? magnitude : lowest;
            highest = magnitude > highest ? magnitude : highest;
        }
        if ((uint32_t)highest >= INFINITE) return 0;
        const int top = nearest(levels, highest);
        int low = nearest(levels, lowest);
        low = low < top - MAX_SPAN ? top - MAX_SPAN : low;
        const int16_t fixed_low = (int16_t)(low + LOWEST), span = (int16_t)(top - low);
        memcpy(body + 2 * b, &fixed_low, 2);
        memcpy(body + 2 * (blocks + b), &span, 2);
        float magnitudes[8];
        levels_of(levels, low, span, magnitudes);
        quantize(own, end - own, magnitudes, codes + b * BLOCK / 2);
    }
    return 1;
}

/* Returns 0 for anything that the encoder could not have written; numpy's decoder then says what it was. */
int log4_decode(const uint8_t *body, int64_t k, const float *levels, float *out) {
    const int64_t blocks = (k + BLOCK - 1) / BLOCK;
    const uint8_t *codes = body + 4 * blocks;
    for (int64_t b = 0; b < blocks; b++, codes += BLOCK / 2) {
        const int64_t size = b + 1 < blocks ? BLOCK : k - b * BLOCK;
        int16_t fixed_low, span;
        memcpy(&fixed_low, body + 2 * b, 2);
        memcpy(&span, body + 2 * (blocks + b), 2);
        const int low = fixed_low - LOWEST;
        if (low < 0 || span < 0 || span > MAX_SPAN || low + span >= LEVELS) return 0;
        float own[16];
        levels_of(levels, low, span, own);
        for (int c = 0; c < 8; c++) own[c + 8] = -own[c];
        for (int64_t i = 0; i < size / 2; i++) {
            *out++ = own[codes[i] & 15];
            *out++ = own[codes[i] >> 4];
        }
        if (size & 1) {
            if (codes[size / 2] >> 4) return 0;
            *out++ = own[codes[size / 2]];
        }
    }
    return 1;
}
