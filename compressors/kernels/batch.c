/* The frames of many layers in one call: most layers of a model are small, and calling costs more than coding them. */
#include "kernels.h"

static void write_header(uint8_t *frame, const job *j, int value_code, int index_code, int64_t count) {
    const uint8_t start[8] = {'K', 'i', 1, (uint8_t)j->codec, (uint8_t)value_code, (uint8_t)index_code, 0, 0};
    const uint32_t numbers[2] = {(uint32_t)j->n, (uint32_t)count};
    memcpy(frame, start, sizeof start);
    memcpy(frame + sizeof start, numbers, sizeof numbers);
}

/* Returns how many entries the frame carries; -1 where NaN or infinity is among the values. */
static int64_t encode_topk(const job *j, uint8_t *body, const float *levels, int32_t *indices, float *kept,
                           float *between) {
    const int64_t count = select_largest(j->values, j->gradient, j->n, j->k, indices, kept, between);
    int64_t used = 0;
    if (count < 0) return -1;
    if (count) {
        used = elias_fano_bytes(j->n, count, j->index_code);
        elias_fano_encode(indices, count, j->n, j->index_code, body, used);
        log4_encode(kept, count, levels, body + used);
        if (j->gradient) {
            log4_decode(body + used, count, levels, kept);
            add_at(j->values, j->n, indices, kept, count, -1.0f);
        }
        used += 4 * ((count + BLOCK - 1) / BLOCK) + (count + 1) / 2;
    }
    memset(body + used, 0, (size_t)(j->bytes - HEADER - used));
    return count;
}

static int encode_one(const job *j, uint8_t *frame, float largest, float tiny, const float *levels, int32_t *indices,
                      float *kept, float *between) {
    int64_t count = j->n;
    int value_code = 0;
    switch (j->codec) {
    case DROP:
        for (int64_t i = 0; j->gradient && i < j->n; i++) j->values[i] += j->gradient[i];
        return 1;
    case TOPK:
        count = encode_topk(j, frame + HEADER, levels, indices, kept, between);
        value_code = LOG4;
        if (count < 0) return 0;
        break;
    case INT8:
        if (!linear_encode(j->values, j->gradient, j->n, 8, largest, tiny, frame + HEADER)) return 0;
        break;
    case INT4:
        if (!linear_encode(j->values, j->gradient, j->n, 4, largest, tiny, frame + HEADER)) return 0;
        break;
    case BFLOAT16:
        if (!bfloat16_encode(j->values, j->gradient, j->n, frame + HEADER)) return 0;
        break;
    default: return 0;
    }
    write_header(frame, j, value_code, j->index_code, count);
    return 1;
}

/*
 * Writes the frames of all jobs; with gradients, values += gradient first, and values -= what was sent last.
 * Returns how many were written: fewer than all where NaN or infinity is among the values of the next.
 */
int64_t encode_frames(const job *jobs, int64_t count, uint8_t *frames, float largest, float tiny, const float *levels,
                      int32_t *indices, float *kept, float *between) {
    int64_t done = 0;
    while (done < count &&
           encode_one(jobs + done, frames + jobs[done].start, largest, tiny, levels, indices, kept, between))
        done++;
    return done;
}

/* Adds what the frames from `from` on carry. Returns the number of the first that Python must read, or `count`. */
int64_t add_frames(const job *jobs, int64_t from, int64_t count, const uint8_t *frames, float largest,
                   const float *levels, int32_t *indices, float *kept, int64_t room) {
    for (; from < count; from++) {
        const job *j = jobs + from;
        if (j->bytes && !add_frame(frames + j->start, j->bytes, j->values, j->n, j->factor, largest, levels, indices,
                                   kept, room))
            break;
    }
    return from;
}
