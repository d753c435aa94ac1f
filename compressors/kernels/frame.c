/*
 * A whole frame in one call, for what is sent most: top-k or threshold with Elias-Fano and log4, int8, int4, bfloat16.
 * All of it is checked before the first addition. Whatever is not as it should be is left to Python, which names it.
 */
#include "kernels.h"

static uint32_t read32(const uint8_t *at) {
    uint32_t number;
    memcpy(&number, at, sizeof number);
    return number;
}

static int scales_valid(const uint8_t *scales, int64_t blocks, float largest) {
    for (int64_t b = 0; b < blocks; b++) {
        float scale;
        memcpy(&scale, scales + 4 * b, sizeof scale);
        if (!(scale >= 0 && scale <= largest)) return 0;
    }
    return 1;
}

static int add_linear(const uint8_t *body, int64_t bytes, int64_t n, int bits, float *target, float factor,
                      float largest) {
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
    if (bytes != 4 * blocks + (n * bits + 7) / 8 || !scales_valid(body, blocks, largest)) return 0;
    if (n * bits % 8 && body[bytes - 1] >> 4) return 0;
    linear_add(body, n, bits, target, factor);
    return 1;
}

static int add_sparse(const uint8_t *body, int64_t bytes, int64_t n, int64_t k, int low_bits, float *target,
                      float factor, const float *levels, int32_t *indices, float *kept) {
    const int64_t index_bytes = elias_fano_bytes(n, k, low_bits);
    const int64_t used = index_bytes + 4 * ((k + BLOCK - 1) / BLOCK) + (k + 1) / 2;
    if (used > bytes) return 0;
    for (int64_t i = used; i < bytes; i++)
        if (body[i]) return 0;
    return elias_fano_decode(body, index_bytes, n, k, low_bits, indices) &&
           log4_decode(body + index_bytes, k, levels, kept) && add_at(target, n, indices, kept, k, factor);
}

/* target += factor * what the frame carries. Returns 0, and nothing is added, if it is for Python to read. */
int add_frame(const uint8_t *frame, int64_t bytes, float *target, int64_t n, float factor, float largest,
              const float *levels, int32_t *indices, float *kept, int64_t room) {
    if (bytes < HEADER || memcmp(frame, "Ki\1", 3) || frame[6] || frame[7]) return 0;
    const int codec = frame[3], value_code = frame[4], index_code = frame[5];
    const int64_t numel = read32(frame + 8), count = read32(frame + 12);
    const uint8_t *body = frame + HEADER;
    bytes -= HEADER;
    if (numel != n || count > n || count < 1) return 0;
    if (codec == TOPK || codec == THRESHOLD)
        return value_code == LOG4 && index_code <= WIDEST && count <= room && n <= INT32_MAX &&
               add_sparse(body, bytes, n, count, index_code, target, factor, levels, indices, kept);
    if (value_code || index_code || count != n) return 0;
    switch (codec) {
    case INT8:
    case INT8_STOCHASTIC: return add_linear(body, bytes, n, 8, target, factor, largest);
    case INT4:
    case INT4_STOCHASTIC: return add_linear(body, bytes, n, 4, target, factor, largest);
    case BFLOAT16:
        if (bytes != 2 * n || !bfloat16_finite(body, n)) return 0;
        bfloat16_add(body, n, target, factor);
        return 1;
    }
    return 0;
}
