"""The k entries of largest magnitude; everything else stays in the residual.

Top-k sparsification with memory: Stich, Cordonnier, Jaggi, arXiv:1809.07599.
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
from kimad.compressors.tensors import Floats, Indices, numel


@final
class TopK(SparseCompressor):
    """C(v)_i = v_i, in the chosen value code, for the k largest |v_i|, else 0; equal magnitudes: lowest index first."""

    name = "topk"
    code = 4

    def choose(self, values: Floats, gradient: Floats | None, k: int, call: Call) -> tuple[Indices, Floats]:
        if k >= values.size:  # a dense run
            if gradient is not None:
                np.add(values, gradient, out=values)
            return np.arange(values.size, dtype=np.int32), values
        return select(values, k, call.key, gradient)

    def errors(self, k: NDArray[np.int64], values: str, curve: ErrorCurve) -> NDArray[np.float64]:
        """||v||^2 - (1 - rho) ||v_k||^2, rho the value code's own error. Raises OptionError."""
        return curve.total - (1 - value_code(values).error) * curve.kept(k)

    def promise(self, shape: Sequence[int], option: Option) -> Promise:
        """1 - (1 - rho) k / n: the k largest hold at least their share of the energy."""
        return Promise(1 - (1 - value_code(option.values).worst) * option.k / max(1, numel(shape)))
