"""k entries at random places, which a key tells: no indices travel.

Random-k sparsification with memory: Stich, Cordonnier, Jaggi, arXiv:1809.07599. The places are stratified (`strata`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import strata
from kimad.compressors.compressor import Call, ErrorCurve, Promise
from kimad.compressors.option import Option
from kimad.compressors.sparse import SparseCompressor, value_code
from kimad.compressors.tensors import Floats, Indices, numel


@final
class RandomK(SparseCompressor):
    """C(v)_i = v_i, in the chosen value code, at k places, else 0. Not scaled up by n / k: a contraction, for error
    feedback. n / k times it is unbiased."""

    name = "randomk"
    code = 6
    seeded = True

    def choose(self, values: Floats, gradient: Floats | None, k: int, call: Call) -> tuple[Indices, Floats]:
        if gradient is not None:
            np.add(values, gradient, out=values)
        indices = strata.places(call.key, values.size, k)
        return indices, values.take(indices)

    def errors(self, k: NDArray[np.int64], values: str, curve: ErrorCurve) -> NDArray[np.float64]:
        """(1 - (1 - rho) k / n) ||v||^2. Raises OptionError."""
        n = max(1, curve.numel)
        return np.asarray((1 - (1 - value_code(values).error) * k / n) * curve.total, np.float64)

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        """1 - (1 - rho) / (size of the largest stratum), in the mean."""
        n = numel(shape)
        if not option.k:
            return Promise(1.0)
        return Promise(1 - (1 - value_code(option.values).worst) / -(-n // option.k), expected=True)
