"""What may be sent before the next buckets are ready: it costs no time, as long as it fits.

Buckets s..t fit before bucket t+1 is ready, where l and c are seconds on the link and of coding, e the encoder's share:

    sum_{s<=j<=t} l_j - e sum_{s<j<=t+1} c_j <= R_{t+1} - R_s        coding holds up backward: the window gets wider

and a_j, the price at which bucket j would just use its time up, is the isotonic solution over all such spans:

    a_j = max_{s<=j} min_{t>=j} price(s, t),   price(s, t): the lowest at which the span fits
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kimad.timeline import ENCODE_SHARE

Floats = NDArray[np.float64]

TINY_S = 1e-9


def cap_prices(prices: Floats, link_s: Floats, coding_s: Floats, ready_s: Floats) -> Floats:
    """(A, B) the price at which each bucket uses its window up; inf for the last one, behind which nothing comes.

    prices: (A, P) falling, A times; link_s, coding_s: (A, P, B) seconds of the buckets at each.
    """
    buckets = len(ready_s)
    caps = np.full((len(prices), buckets), np.inf)
    if buckets == 1:
        return caps
    first, last = np.triu_indices(buckets - 1)
    link, coding = _running(link_s), _running(coding_s)
    taken_s = link[..., last + 1] - link[..., first] - ENCODE_SHARE * (coding[..., last + 2] - coding[..., first + 1])
    price = np.full((len(prices), buckets - 1, buckets - 1), np.inf)
    price[:, first, last] = _lowest_that_fits(prices, taken_s, ready_s[last + 1] - ready_s[first])
    cheapest_end = np.minimum.accumulate(price[:, :, ::-1], axis=2)[:, :, ::-1]
    caps[:, :-1] = np.where(np.tri(buckets - 1, dtype=bool).T, cheapest_end, -np.inf).max(axis=1)
    return caps


def _lowest_that_fits(prices: Floats, taken_s: Floats, window_s: Floats) -> Floats:
    """(A, n) the lowest price at which what is sent in each of n windows fits, between two of the falling `prices`.

    taken_s: (A, P, n). The first price where nothing fits, the last one where everything does.
    """
    count = prices.shape[1]
    after = np.logical_and.accumulate(taken_s <= window_s, axis=1).sum(axis=1)
    low = np.minimum(after, count - 1)
    high = np.where(after < count, np.maximum(low - 1, 0), low)
    where, here = np.arange(len(prices))[:, None], np.arange(len(window_s))
    high_s, low_s = taken_s[where, high, here], taken_s[where, low, here]
    inside = (after > 0) & (after < count)
    ends = np.log(np.maximum([high_s, low_s, np.broadcast_to(window_s, low_s.shape)], TINY_S))
    share = np.where(inside, (ends[2] - ends[0]) / np.where(ends[1] > ends[0], ends[1] - ends[0], 1.0), 0.0)
    logs = np.log(prices)
    found: Floats = np.exp(logs[where, high] + share * (logs[where, low] - logs[where, high]))
    return found


def _running(seconds: Floats) -> Floats:
    """(A, P, B + 1) sums over the buckets before each."""
    sums = np.zeros((*seconds.shape[:2], seconds.shape[2] + 1))
    np.cumsum(seconds, axis=2, out=sums[:, :, 1:])
    return sums
