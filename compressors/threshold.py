"""Every entry that reaches a threshold, but k at most.

Hard-threshold sparsification (Dryden et al. 2016; Sahu et al., arXiv:2108.00951). A frame's size must be known before
the data, so there is a k: of more entries the largest are kept, and room for fewer is filled with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors.compressor import Call, ErrorCurve, Promise
from kimad.compressors.option import Option
from kimad.compressors.select import select
from kimad.compressors.sparse import SparseCompressor, value_code
from kimad.compressors.tensors import Floats, Indices


@final
class Threshold(SparseCompressor):
    """C(v)_i = v_i, in the chosen value code, if |v_i| >= `Option.threshold` and among the k largest, else 0."""

    name = "threshold"
    code = 7
    fills = False

    def choose(self, values: Floats, gradient: Floats | None, k: int, call: Call) -> tuple[Indices, Floats]:
        indices, kept = select(values, k, call.key, gradient)
        keep = (np.abs(kept) >= np.float32(call.option.threshold)).nonzero()[0]
        return indices.take(keep), kept.take(keep)

    def errors(self, k: NDArray[np.int64], values: str, curve: ErrorCurve) -> NDArray[np.float64]:
        """At least that of top-k, which is told here: a curve does not know how many entries reach the threshold."""
        return curve.total - (1 - value_code(values).error) * curve.kept(k)

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        """Nothing: perhaps no entry reaches the threshold."""
        return Promise(1.0)
