/* The entries that reach a threshold, the k largest of them, and addition in their places. */
#include "kernels.h"

#define STRIDE 32 /* entries that are added and looked at together */
#define AHEAD 64  /* additions between asking for a line of memory and using it */
#define SAMPLES 1024
#define SPARE (1 << 16)         /* entries that may be kept beyond k, and k / 8, before they are trimmed on the way */
#define DIRECT 4096             /* as select.py has these four */
#define MIN_SAMPLES 2048
#define MAX_SAMPLES 16384
#define SAMPLED_KEPT 48

typedef struct {
    float *values;
    const float *gradient; /* or NULL */
    int64_t n, position;
    int32_t *indices;
    float *kept;
    int64_t count, room;
} search;

/* Full strides, from the search's position on, while there is room for one. */
WIDE static void scan_strides(search *s, const int32_t least) {
    for (; s->position + STRIDE <= s->n && s->count + STRIDE <= s->room; s->position += STRIDE) {
        float *own = s->values + s->position;
        int32_t largest = 0;
        if (s->gradient)
            for (int i = 0; i < STRIDE; i++) own[i] += s->gradient[s->position + i];
        for (int i = 0; i < STRIDE; i++) {
            const int32_t magnitude = magnitude_of(own + i);
            largest = magnitude > largest ? magnitude : largest;
        }
        if (largest < least) continue;
        for (int i = 0; i < STRIDE; i++) {
            s->kept[s->count] = own[i];
            s->indices[s->count] = (int32_t)(s->position + i);
            s->count += magnitude_of(own + i) >= least;
        }
    }
}

#ifdef HAVE_WIDE
#include <immintrin.h>

static uint8_t lanes[256][8]; /* for every set of lanes: which they are, first to last */

__attribute__((constructor)) static void fill_lanes(void) {
    for (int set = 0; set < 256; set++)
        for (int lane = 0, at = 0; lane < 8; lane++)
            if (set >> lane & 1) lanes[set][at++] = (uint8_t)lane;
}

/* The same, eight entries at once: those to keep are moved together within the register. */
__attribute__((target("avx2,popcnt"))) static void scan_strides_avx2(search *s, const int32_t least) {
    const __m256i below = _mm256_set1_epi32(least - 1), magnitude = _mm256_set1_epi32(MAGNITUDE);
    const __m256i ramp = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    int64_t position = s->position, count = s->count;
    for (; position + STRIDE <= s->n && count + STRIDE <= s->room; position += STRIDE) {
        float *own = s->values + position;
        __m256 part[STRIDE / 8];
        int hits[STRIDE / 8], any = 0;
        for (int i = 0; i < STRIDE / 8; i++) {
            part[i] = _mm256_loadu_ps(own + 8 * i);
            if (s->gradient) {
                part[i] = _mm256_add_ps(part[i], _mm256_loadu_ps(s->gradient + position + 8 * i));
                _mm256_storeu_ps(own + 8 * i, part[i]);
            }
            const __m256i size = _mm256_and_si256(_mm256_castps_si256(part[i]), magnitude);
            hits[i] = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(size, below)));
            any |= hits[i];
        }
        if (!any) continue;
        for (int i = 0; i < STRIDE / 8; i++) {
            const __m256i chosen = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)lanes[hits[i]]));
            const __m256i place = _mm256_add_epi32(ramp, _mm256_set1_epi32((int32_t)position + 8 * i));
            _mm256_storeu_ps(s->kept + count, _mm256_permutevar8x32_ps(part[i], chosen));
            _mm256_storeu_si256((__m256i *)(s->indices + count), _mm256_permutevar8x32_epi32(place, chosen));
            count += __builtin_popcount((unsigned)hits[i]);
        }
    }
    s->position = position;
    s->count = count;
}
#endif

/*
 * From `position` on: values += gradient, if there is one, and keep what reaches the threshold, until less than a
 * stride of room is left. Magnitudes are compared as whole numbers, whose order is that of the floats; NaN is above.
 * Returns how many are kept now, and in `reached` the position that it came to.
 */
static int64_t scan(float *values, const float *gradient, int64_t n, int32_t least, int64_t position, int32_t *indices,
                    float *kept, int64_t count, int64_t room, int64_t *reached) {
    search s = {values, gradient, n, position, indices, kept, count, room};
#ifdef HAVE_WIDE
    if (__builtin_cpu_supports("avx2"))
        scan_strides_avx2(&s, least);
    else
#endif
        scan_strides(&s, least);
    if (s.position + STRIDE > n)
        for (; s.position < n && s.count < room; s.position++) {
            if (gradient) values[s.position] += gradient[s.position];
            kept[s.count] = values[s.position];
            indices[s.count] = (int32_t)s.position;
            s.count += magnitude_of(values + s.position) >= least;
        }
    *reached = s.position;
    return s.count;
}

/*
 * Radix selection: the k-th largest of `count` >= k magnitudes, every `step`-th one of what is in memory.
 * In `ties`: how many of those equal to it are among the k.
 */
static int32_t nth_largest(const float *kept, int64_t count, int64_t step, int64_t k, int64_t *ties) {
    static const int shifts[] = {20, 10, 0};
    uint32_t prefix = 0;
    for (int pass = 0; pass < 3; pass++) {
        const int width = pass ? 10 : 11, shift = shifts[pass];
        const uint32_t last = (1u << width) - 1;
        int64_t histogram[2048] = {0};
        for (int64_t i = 0; i < count; i++) {
            const uint32_t magnitude = (uint32_t)magnitude_of(kept + i * step);
            if (!pass || magnitude >> (shift + width) == prefix) histogram[magnitude >> shift & last]++;
        }
        uint32_t bin = last;
        for (; bin && histogram[bin] < k; bin--) k -= histogram[bin];
        prefix = prefix << width | bin;
    }
    *ties = k;
    return (int32_t)prefix;
}

/* The same of many: a sample tells two magnitudes that it lies between, and only what is there too is sorted out. */
static int32_t nth_of_many(const float *kept, int64_t count, int64_t k, float *between, int64_t *ties) {
    const int64_t step = count / SAMPLES, rank = k * SAMPLES / count, off = 3 * 16 + 1; /* 3 sigma: sqrt(1024) / 2 */
    int64_t ignored, above = 0, found = 0;
    const int32_t high = rank > off ? nth_largest(kept, SAMPLES, step, rank - off, &ignored) : MAGNITUDE;
    const int32_t low = rank + off < SAMPLES ? nth_largest(kept, SAMPLES, step, rank + off, &ignored) : 0;
    for (int64_t i = 0; i < count; i++) {
        const int32_t magnitude = magnitude_of(kept + i);
        between[found] = kept[i];
        found += (magnitude >= low) & (magnitude <= high);
        above += magnitude > high;
    }
    if (above >= k || above + found < k) return nth_largest(kept, count, 1, k, ties); /* the sample misled */
    return nth_largest(between, found, 1, k - above, ties);
}

/*
 * Move the k largest of `count` > k entries to the front, in their order; of equal ones the first. Returns k.
 * `between` has room for `count` entries.
 */
static int64_t trim(int32_t *indices, float *kept, int64_t count, int64_t k, float *between) {
    int64_t ties, end = 0;
    const int32_t cut = count < 4 * SAMPLES ? nth_largest(kept, count, 1, k, &ties)
                                            : nth_of_many(kept, count, k, between, &ties);
    for (int64_t i = 0; i < count && end < k; i++) {
        const int32_t magnitude = magnitude_of(kept + i);
        const int tied = (magnitude == cut) & (ties > 0);
        ties -= tied;
        kept[end] = kept[i];
        indices[end] = indices[i];
        end += (magnitude > cut) | tied;
    }
    return end;
}

/* Entries of scratch that selecting k of n takes: more than this is trimmed on the way, whatever the data. */
int64_t select_room(int64_t n, int64_t k) {
    const int64_t limit = k + (k / 8 > SPARE ? k / 8 : SPARE) + SPARE;
    return n < limit ? n : limit;
}

/* A sample of what values + gradient will be, with a stride that shares no factor with a convolution's kernel. */
static int64_t sample_of(const float *values, const float *gradient, int64_t n, int64_t k, float *sample) {
    int64_t wanted = SAMPLED_KEPT * n / k, count = 0;
    wanted = wanted < MIN_SAMPLES ? MIN_SAMPLES : wanted > MAX_SAMPLES ? MAX_SAMPLES : wanted;
    int64_t stride = n > wanted ? n / wanted : 1;
    while (stride > 1 && (stride % 2 == 0 || stride % 3 == 0 || stride % 5 == 0 || stride % 7 == 0)) stride++;
    for (int64_t i = stride / 2; i < n; i += stride) sample[count++] = gradient ? values[i] + gradient[i] : values[i];
    return count;
}

/*
 * The k largest of n entries in the order of their places, of equal ones the first; fewer if fewer are normal numbers.
 * values += gradient first, if there is one. Returns how many; -1, and only some are added, where NaN or infinity is
 * among them. The last three have `select_room` entries each.
 */
int64_t select_largest(float *values, const float *gradient, int64_t n, int64_t k, int32_t *indices, float *kept,
                       float *between) {
    const int64_t room = select_room(n, k);
    const int64_t samples = n > DIRECT ? sample_of(values, gradient, n, k, between) : 0;
    const int64_t expected = (int64_t)((double)k * (double)samples / (double)n);
    int64_t sigma = 1, count = 0;
    while (sigma * sigma < expected) sigma++;
    int64_t rank = expected + 3 * sigma + 1; /* most of the time, one pass will do */
    for (int attempt = 0; attempt < 3; attempt++, rank *= 2) {
        int64_t ties, position = 0;
        int32_t least = attempt < 2 && rank < samples ? nth_largest(between, samples, 1, rank, &ties) : NORMAL;
        least = least < NORMAL ? NORMAL : least > INFINITE ? INFINITE : least;
        const int everything = least == NORMAL;
        for (count = 0; position < n;) {
            const int64_t before = count;
            count = scan(values, gradient, n, least, position, indices, kept, count, room, &position);
            for (int64_t i = before; i < count; i++)
                if ((uint32_t)magnitude_of(kept + i) >= INFINITE) return -1;
            if (position == n) break;
            count = trim(indices, kept, count, k, between);
            for (int64_t i = 0; i < count; i++) { /* a later tie has a higher index and loses */
                const int32_t above = magnitude_of(kept + i) + 1;
                least = i && least < above ? least : above;
            }
        }
        if (count >= k || everything) break;
        gradient = 0; /* it is added now */
    }
    return count > k ? trim(indices, kept, count, k, between) : count;
}

/* target[indices] += scale * decoded, each operation rounded on its own. Returns 0 where an index is out of range. */
WIDE int add_at(float *target, int64_t n, const int32_t *indices, const float *decoded, int64_t count, float scale) {
    int outside = 0;
    for (int64_t i = 0; i < count; i++) outside |= (indices[i] < 0) | (indices[i] >= n);
    if (outside) return 0;
    for (int64_t i = 0; i < count; i++) {
        const float scaled = decoded[i] * scale;
        if (i + AHEAD < count) __builtin_prefetch(target + indices[i + AHEAD], 1);
        target[indices[i]] += scaled;
    }
    return 1;
}
