"""The k entries of largest magnitude, exactly, in one pass over the tensor.

A strided sample tells a threshold that slightly more than k entries reach; the pass keeps those, chunk by chunk in
cache; the few that were kept are trimmed to k. Of equal magnitudes the lowest index comes first. Zeros and denormals
are never selected. Several times faster than a selection over the whole tensor, and it allocates O(k).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite, sqrt

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import kernels
from kimad.compressors.errors import NonFiniteError
from kimad.compressors.scratch import SCRATCH, chunks
from kimad.compressors.tensors import TINY, Floats, Indices

DIRECT = 4096  # up to here a partition of the whole tensor is faster than sampling
_CHUNK = 1 << 18  # entries a step of the pass: magnitudes and mask stay in cache
_MIN_SAMPLES, _MAX_SAMPLES = 2048, 16384
_SAMPLED_KEPT = 48  # aim at so many kept entries in the sample


def select(values: Floats, k: int, key: int = 0, gradient: Floats | None = None) -> tuple[Indices, Floats]:
    """Return indices (increasing) and values of the k largest magnitudes of n < 2**31 entries, 1 <= k <= n.

    Fewer if fewer are at least the smallest normal float32. `key` moves the sample, never the result. With `gradient`:
    values += gradient first, in the same pass. The arrays may be scratch memory of this thread, good until its next
    call. Raises NonFiniteError for NaN or infinity.
    """
    if kernels.compiled():
        found = kernels.select(values, k, gradient)
        if found is None:
            raise NonFiniteError(f"topk: NaN or infinity among {values.size} values")
        return found
    if values.size > DIRECT:
        return _select_by_threshold(values, k, key, gradient)
    if gradient is not None:
        np.add(values, gradient, out=values)
    magnitude = np.abs(values)
    if not isfinite(magnitude.max()):
        raise NonFiniteError(f"topk: NaN or infinity among {values.size} values")
    keep = largest(magnitude, k)
    return keep.nonzero()[0].astype(np.int32), values[keep]


def largest(magnitude: Floats, k: int) -> NDArray[np.bool_]:
    """Where the k largest are; of equal ones the first; none below the smallest normal float32."""
    if k >= magnitude.size:
        return magnitude >= TINY
    cut = _smallest(magnitude, magnitude.size - k)
    keep: NDArray[np.bool_] = magnitude >= max(cut, TINY)
    extra = int(np.count_nonzero(keep)) - k
    if extra > 0:  # ties at the cut: too many of them came through
        keep[(magnitude == cut).nonzero()[0][-extra:]] = False
    return keep


def _smallest(magnitude: Floats, rank: int) -> np.float32:
    """Return the entry that `rank` others precede in increasing order.

    Of a long array only the part below a bound is partitioned: candidates are few more than wanted, so it is short.
    """
    sample = magnitude[:: coprime_stride(magnitude.size // 1024)]
    expected = rank * sample.size / magnitude.size
    above = int(expected + 3 * sqrt(expected) + 3)
    if magnitude.size > DIRECT and above < sample.size // 2:
        below = magnitude.take((magnitude < np.partition(sample, above)[above]).nonzero()[0])
        if below.size > rank:
            magnitude = below
    smallest: np.float32 = np.partition(magnitude, rank)[rank]
    return smallest


def coprime_stride(least: int) -> int:
    """Round up to a stride without the factors 2, 3, 5, 7: others see only some positions of a convolution's kernel."""
    stride = max(1, least)
    while stride > 1 and (stride % 2 == 0 or stride % 3 == 0 or stride % 5 == 0 or stride % 7 == 0):
        stride += 1
    return stride


def _select_by_threshold(values: Floats, k: int, key: int, gradient: Floats | None) -> tuple[Indices, Floats]:
    n = values.size
    for threshold in _thresholds(values, k, key, gradient):
        if not isfinite(threshold):
            if gradient is not None:  # as after every other error: the residual holds the gradient
                np.add(values, gradient, out=values)
            raise NonFiniteError(f"topk: NaN or infinity among {n} values")
        indices, kept = _scan(values, k, threshold, gradient)
        gradient = None  # it is added now
        if kept.size >= k or threshold <= TINY:
            break
    if kept.size > k:
        count = _close_up(indices, kept, largest(np.abs(kept), k))
        indices, kept = indices[:count], kept[:count]
    return indices, kept


def _thresholds(values: Floats, k: int, key: int, gradient: Floats | None) -> Iterator[np.float32]:
    """What a little more than k entries reach, if the sample does not mislead; lower ones if it does."""
    n = values.size
    samples = min(_MAX_SAMPLES, max(_MIN_SAMPLES, _SAMPLED_KEPT * n // k))
    stride = coprime_stride(n // samples)
    sample = values[key % stride :: stride]
    sample = np.abs(sample if gradient is None else sample + gradient[key % stride :: stride])
    expected = k * sample.size / n
    first = int(expected + 3 * sqrt(expected) + 1)  # three sigma more: a second pass is rare
    for rank in (first, 2 * first, n):
        if rank < sample.size:
            yield max(TINY, np.partition(sample, sample.size - rank)[sample.size - rank])
        else:
            yield TINY


def _close_up(indices: Indices, kept: Floats, keep: NDArray[np.bool_]) -> int:
    """Move what is to be kept to the front, piece by piece and in place; return how many they are."""
    count = 0
    for part in chunks(keep.size):
        staying = kept[part][keep[part]]
        end = count + staying.size
        kept[count:end] = staying
        indices[count:end] = indices[part][keep[part]]
        count = end
    return count


def _places(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return where the mask is true, as flatnonzero does, faster when that is rare; the length is a multiple of 8."""
    words = mask.view(np.uint64)
    hit_words = (words != 0).nonzero()[0]
    hits = words.take(hit_words).view(np.bool_).nonzero()[0]
    places: NDArray[np.int64] = hit_words.take(hits >> 3)
    places <<= 3
    hits &= 7
    places += hits
    return places


def _scan(values: Floats, k: int, threshold: np.float32, gradient: Floats | None) -> tuple[Indices, Floats]:
    """Return all entries that reach the threshold, or, where they are many, at least the k largest of them."""
    n = values.size
    limit = k + max(k // 8, _CHUNK)  # more than this is trimmed on the way, so memory stays O(k) whatever the data
    indices = SCRATCH.get("select indices", min(n, limit + _CHUNK), np.int32)
    kept = SCRATCH.get("select values", min(n, limit + _CHUNK), np.float32)
    position = count = 0
    while position < n:
        before = count
        position, count = _scan_chunk(values, gradient, float(threshold), position, indices, kept, count)
        if not np.isfinite(kept[before:count]).all():
            raise NonFiniteError(f"topk: NaN or infinity among {n} values")
        if count > limit and position < n:
            count = _close_up(indices[:count], kept[:count], largest(np.abs(kept[:count]), k))
            # a later tie has a higher index and loses
            threshold = np.nextafter(np.abs(kept[:count]).min(), np.float32(np.inf))
    return indices[:count], kept[:count]


def _scan_chunk(
    values: Floats, gradient: Floats | None, threshold: float, position: int, indices: Indices, kept: Floats, count: int
) -> tuple[int, int]:
    """Of one chunk from `position` on: values += gradient, and keep what is not below the threshold.

    Returns the position that it came to, and how many entries are kept now.
    """
    part = values[position : position + _CHUNK]
    size = part.size
    if gradient is not None:
        np.add(part, gradient[position : position + size], out=part)
    magnitude = SCRATCH.get("select magnitude", _CHUNK, np.float32)
    mask = SCRATCH.get("select mask", _CHUNK, np.bool_)
    np.abs(part, out=magnitude[:size])
    np.less(magnitude[:size], np.float32(threshold), out=mask[:size])
    np.logical_not(mask[:size], out=mask[:size])  # not below, and so NaN comes through, to be seen
    padded = (size + 7) // 8 * 8
    mask[size:padded] = False
    hits = _places(mask[:padded])
    end = count + hits.size
    part.take(hits, out=kept[count:end], mode="clip")  # clip: with the default mode, numpy buffers `out`
    np.add(hits, position, out=indices[count:end], casting="unsafe")
    return position + size, end
