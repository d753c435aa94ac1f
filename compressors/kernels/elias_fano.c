/* Sorted indices: unary high parts and planes of low bits, as elias_fano.py describes them. */
#include "kernels.h"

static const int WIDTHS[] = {8, 8, 8, 4, 2, 1};

/* The plane of `width` bits that has `below` lower bits under it, first index in the lowest bits of a byte. */
static inline void pack_plane(const int32_t *indices, int64_t k, const int width, int below, uint8_t *out) {
    const int each = 8 / width;
    const uint32_t mask = (1u << width) - 1;
    int64_t j = 0;
    for (; j + each <= k; j += each) {
        uint32_t byte = 0;
        for (int i = 0; i < each; i++) byte |= ((uint32_t)indices[j + i] >> below & mask) << (i * width);
        *out++ = (uint8_t)byte;
    }
    if (j == k) return;
    *out = 0;
    for (int i = 0; j + i < k; i++) *out |= (uint8_t)(((uint32_t)indices[j + i] >> below & mask) << (i * width));
}

/* indices = indices << width | what the plane has for them. */
static inline void unpack_plane(const uint8_t *plane, int64_t k, const int width, int32_t *indices) {
    const int each = 8 / width;
    const uint32_t mask = (1u << width) - 1;
    int64_t j = 0;
    for (; j + each <= k; j += each) {
        const uint32_t byte = *plane++;
        for (int i = 0; i < each; i++)
            indices[j + i] = (int32_t)((uint32_t)indices[j + i] << width | (byte >> (i * width) & mask));
    }
    for (int i = 0; j + i < k; i++)
        indices[j + i] = (int32_t)((uint32_t)indices[j + i] << width | ((uint32_t)*plane >> (i * width) & mask));
}

void elias_fano_encode(const int32_t *indices, int64_t k, int low_bits, uint8_t *out, int64_t high_bytes) {
    memset(out, 0, (size_t)high_bytes);
    for (int64_t j = 0; j < k; j++) {
        const int64_t place = ((int64_t)indices[j] >> low_bits) + j;
        out[place >> 3] |= (uint8_t)(0x80 >> (place & 7));
    }
    uint8_t *plane = out + high_bytes;
    for (int w = 0, below = low_bits; w < 6; w++) {
        const int width = WIDTHS[w];
        if (below < width) continue;
        below -= width;
        switch (width) { /* constants, so that the loops inside unroll */
        case 8: pack_plane(indices, k, 8, below, plane); break;
        case 4: pack_plane(indices, k, 4, below, plane); break;
        case 2: pack_plane(indices, k, 2, below, plane); break;
        default: pack_plane(indices, k, 1, below, plane);
        }
        plane += (k * width + 7) / 8;
    }
}

/* The first bit of each byte becomes its lowest. */
static inline uint64_t mirrored(uint64_t word) {
    word = (word >> 4 & 0x0f0f0f0f0f0f0f0full) | (word & 0x0f0f0f0f0f0f0f0full) << 4;
    word = (word >> 2 & 0x3333333333333333ull) | (word & 0x3333333333333333ull) << 2;
    return (word >> 1 & 0x5555555555555555ull) | (word & 0x5555555555555555ull) << 1;
}

/* Where the bits are set, each less the number of those before it: the high parts. Returns 0 unless they are k. */
static int high_parts(const uint8_t *body, int64_t high_bytes, int64_t highest, int64_t k, int32_t *indices) {
    int64_t found = 0;
    for (int64_t at = 0; at < high_bytes; at += 8) {
        uint64_t word = 0;
        memcpy(&word, body + at, high_bytes - at < 8 ? (size_t)(high_bytes - at) : 8);
        if (found + __builtin_popcountll(word) > k) return 0;
        for (word = mirrored(word); word; word &= word - 1, found++)
            indices[found] = (int32_t)(8 * at + __builtin_ctzll(word) - found);
    }
    return found == k && indices[k - 1] <= highest;
}

/* Returns 0 for anything that the encoder could not have written; numpy's decoder then says what it was. */
WIDE int elias_fano_decode(const uint8_t *body, int64_t bytes, int64_t high_bytes, int64_t n, int64_t k, int low_bits,
                           int32_t *indices) {
    if (!high_parts(body, high_bytes, n >> low_bits, k, indices)) return 0;
    const uint8_t *plane = body + high_bytes;
    for (int w = 0, below = low_bits; w < 6; w++) {
        const int width = WIDTHS[w];
        if (below < width) continue;
        below -= width;
        const int64_t used = (k * width + 7) / 8;
        if (plane + used > body + bytes) return 0;
        switch (width) {
        case 8: unpack_plane(plane, k, 8, indices); break;
        case 4: unpack_plane(plane, k, 4, indices); break;
        case 2: unpack_plane(plane, k, 2, indices); break;
        default: unpack_plane(plane, k, 1, indices);
        }
        if (k * width % 8 && plane[used - 1] >> (k * width % 8)) return 0;
        plane += used;
    }
    int falling = indices[0] < 0;
    for (int64_t j = 1; j < k; j++) falling |= indices[j] <= indices[j - 1];
    return !falling && indices[k - 1] < n;
}
