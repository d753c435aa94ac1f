/* Sorted indices: unary high parts and planes of low bits, as elias_fano.py describes them. */
#include "kernels.h"

#define PIECE 2048 /* indices decoded at once: they stay in the nearest cache */

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

static int64_t high_bytes_of(int64_t n, int64_t k, int low_bits) { return (k + (n >> low_bits) + 8) / 8; }

int64_t elias_fano_bytes(int64_t n, int64_t k, int low_bits) {
    int64_t bytes = high_bytes_of(n, k, low_bits) + (low_bits >> 3) * k;
    for (int width = 4; width; width /= 2)
        if (low_bits & width) bytes += (k * width + 7) / 8;
    return bytes;
}

/* Returns 0, and writes nothing, where the last index is not below n or the body is too short. */
int elias_fano_encode(const int32_t *indices, int64_t k, int64_t n, int low_bits, uint8_t *out, int64_t bytes) {
    if (indices[k - 1] >= n || bytes < elias_fano_bytes(n, k, low_bits)) return 0;
    const int64_t high_bytes = high_bytes_of(n, k, low_bits);
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
    return 1;
}

/* The first bit of each byte becomes its lowest. */
static inline uint64_t mirrored(uint64_t word) {
    word = (word >> 4 & 0x0f0f0f0f0f0f0f0full) | (word & 0x0f0f0f0f0f0f0f0full) << 4;
    word = (word >> 2 & 0x3333333333333333ull) | (word & 0x3333333333333333ull) << 2;
    return (word >> 1 & 0x5555555555555555ull) | (word & 0x5555555555555555ull) << 1;
}

typedef struct {
    const uint8_t *body;
    int64_t bytes, at; /* how many there are, and which of them are to be loaded next */
    uint64_t left;     /* bits of the word before that */
    int64_t found;
} bits;

static void load(bits *b) {
    const int64_t here = b->bytes - b->at < 8 ? b->bytes - b->at : 8;
    b->left = 0;
    memcpy(&b->left, b->body + b->at, (size_t)here);
    b->left = mirrored(b->left);
    b->at += 8;
}

/* The next `count` places of bits that are set, each less the number of those before it. Returns 0 if there are less. */
static int high_parts(bits *b, int64_t count, int32_t *indices) {
    for (int64_t j = 0; j < count;) {
        while (!b->left) {
            if (b->at >= b->bytes) return 0;
            load(b);
        }
        for (; b->left && j < count; b->left &= b->left - 1, j++)
            indices[j] = (int32_t)(8 * (b->at - 8) + __builtin_ctzll(b->left) - b->found++);
    }
    return 1;
}

static int all_zero(bits *b) {
    while (!b->left && b->at < b->bytes) load(b);
    return !b->left;
}

/* Returns 0 for anything that the encoder could not have written; numpy's decoder then says what it was. */
WIDE int elias_fano_decode(const uint8_t *body, int64_t bytes, int64_t n, int64_t k, int low_bits, int32_t *indices) {
    if (bytes != elias_fano_bytes(n, k, low_bits)) return 0;
    const int64_t high_bytes = high_bytes_of(n, k, low_bits);
    const uint8_t *planes[6], *plane = body + high_bytes;
    for (int w = 0, below = low_bits; w < 6; w++) {
        planes[w] = 0;
        if (below < WIDTHS[w]) continue;
        below -= WIDTHS[w];
        const int64_t size = (k * WIDTHS[w] + 7) / 8;
        if (k * WIDTHS[w] % 8 && plane[size - 1] >> (k * WIDTHS[w] % 8)) return 0;
        planes[w] = plane;
        plane += size;
    }
    bits high = {body, high_bytes, 0, 0, 0};
    int32_t before = -1;
    for (int64_t start = 0; start < k; start += PIECE) {
        const int64_t size = k - start < PIECE ? k - start : PIECE;
        int32_t *own = indices + start;
        if (!high_parts(&high, size, own) || own[size - 1] > n >> low_bits) return 0;
        for (int w = 0; w < 6; w++) {
            if (!planes[w]) continue;
            const uint8_t *part = planes[w] + start * WIDTHS[w] / 8;
            switch (WIDTHS[w]) { /* constants, so that the loops inside unroll */
            case 8: unpack_plane(part, size, 8, own); break;
            case 4: unpack_plane(part, size, 4, own); break;
            case 2: unpack_plane(part, size, 2, own); break;
            default: unpack_plane(part, size, 1, own);
            }
        }
        int falling = own[0] <= before;
        for (int64_t j = 1; j < size; j++) falling |= own[j] <= own[j - 1];
        before = own[size - 1];
        if (falling || before >= n) return 0;
    }
    return all_zero(&high);
}
