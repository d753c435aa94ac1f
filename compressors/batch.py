"""Many layers in one call: most layers of a model are small, and calling costs more than coding them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kimad.compressors import index_code, kernels
from kimad.compressors.blocks import LARGEST
from kimad.compressors.coding import decode, encode, encode_owed
from kimad.compressors.errors import CodecError, NonFiniteError, TensorError
from kimad.compressors.frame import check_length
from kimad.compressors.log4 import LEVELS
from kimad.compressors.operators import compressor, wire_bytes
from kimad.compressors.option import Option
from kimad.compressors.tensors import TINY, frame_bytes, frame_room, numel

_CODED = ("drop", "int8", "int4", "bfloat16")  # in compiled code, and top-k as `_known` says


@final
class Batch:
    """Layers whose frames lie one behind the other, in one call where compiled code knows their operators.

    The same bytes and sums as `encode`, `encode_owed` and `decode` for one layer after the other.
    """

    def __init__(self, shapes: Sequence[Sequence[int]], options: Sequence[Option]) -> None:
        """shapes, options: one a layer. Raises OptionError."""
        self.shapes = tuple(map(tuple, shapes))
        self.options = tuple(options)
        sizes = [wire_bytes(s, o) for s, o in zip(self.shapes, self.options, strict=True)]
        self._numels = [numel(shape) for shape in self.shapes]
        self._ends = (0, *accumulate(sizes))
        known = [i for i in range(len(sizes)) if _known(self._numels[i], self.options[i])]
        self._jobs = np.zeros(len(known), kernels.JOB)
        self._known = np.array(known, np.int64)
        self._all = range(len(sizes))
        self._rest: Sequence[int] = sorted(set(self._all) - set(known))  # layers that take a call of their own
        self._jobs["n"] = [self._numels[i] for i in known]
        self._jobs["k"] = [self.options[i].k for i in known]
        self._jobs["start"] = [self._ends[i] for i in known]
        self._jobs["bytes"] = [sizes[i] for i in known]
        self._jobs["codec"] = [compressor(self.options[i].operator).code for i in known]
        self._jobs["index_code"] = [_index_code(self._numels[i], self.options[i]) for i in known]

    @property
    def wire_bytes(self) -> int:
        """Exact bytes of all frames together."""
        return self._ends[-1]

    def part(self, frames: Tensor, layer: int) -> Tensor:
        """One layer's frame among all."""
        return frames[self._ends[layer] : self._ends[layer + 1]]

    def encode(
        self, values: Sequence[Tensor], out: Tensor, *, gradients: Sequence[Tensor] | None = None,
        keys: Sequence[int] = (), warm: Sequence[Tensor | None] = (),
    ) -> None:  # fmt: skip
        """Write all frames to the start of `out`; with gradients, as `encode_owed` does for each layer.

        values, gradients: flat float32, one a layer. keys, warm: as in `encode`, one a layer; default 0 and none.
        Raises what `encode` raises; its `layer` is the number of the layer.
        """
        self._check(values=values, gradients=gradients)
        rest, jobs = self._rest, self._filled(values, gradients)
        if jobs is None:
            rest = self._all
        elif jobs.size:
            done = kernels.encode_frames(jobs, frame_room(out, self.wire_bytes), float(LARGEST), float(TINY), LEVELS)
            if done < jobs.size:
                error = NonFiniteError(f"NaN or infinity among {jobs[done]['n']} values, only finite ones can be sent")
                error.layer = int(self._known[done])
                raise error
        for i in rest:
            key, before = keys[i] if keys else 0, warm[i] if warm else None
            option, shape, frame = self.options[i], self.shapes[i], self.part(out, i)
            try:
                if gradients is None:
                    encode(values[i], option, frame, shape=shape, key=key, warm=before)
                else:
                    encode_owed(values[i], gradients[i], option, frame, shape=shape, key=key, warm=before)
            except CodecError as error:
                error.layer = i
                raise

    def decode(self, frames: Tensor, targets: Sequence[Tensor], scales: Sequence[float]) -> None:
        """targets[i] += scales[i] * what the i-th frame carries. Each frame is checked before it is added.

        Raises what `decode` raises; its `layer` is the number of the layer, and those before it may be added already.
        """
        self._check(targets=targets, scales=scales)
        check_length(frames.numel(), self.wire_bytes, 0)
        rest, jobs = self._rest, self._filled(targets, None)
        if jobs is None:
            rest = self._all
        elif jobs.size:
            jobs["factor"] = np.asarray(scales, np.float32)[self._known]
            raw, done = frame_bytes(frames, "frames"), 0
            while (done := kernels.add_frames(jobs, done, raw, float(LARGEST), LEVELS)) < jobs.size:
                self._decode_one(int(self._known[done]), frames, targets, scales)
                done += 1
        for i in rest:
            self._decode_one(i, frames, targets, scales)

    def _decode_one(self, i: int, frames: Tensor, targets: Sequence[Tensor], scales: Sequence[float]) -> None:
        if self._ends[i] == self._ends[i + 1]:
            return
        try:
            decode(self.part(frames, i), targets[i], scales[i])
        except CodecError as error:
            error.layer = i
            raise

    def _check(self, **given: Sequence[object] | None) -> None:
        for name, items in given.items():
            if items is not None and len(items) != len(self._numels):
                raise TensorError(f"{len(items)} {name} for a batch of {len(self._numels)} layers, must be one a layer")

    def _filled(self, values: Sequence[Tensor], gradients: Sequence[Tensor] | None) -> NDArray[np.void] | None:
        """The jobs with their addresses; None where one is not what compiled code takes: its own call says why."""
        if not kernels.compiled():
            return None
        jobs = self._jobs.copy()  # threads may share a batch
        for field, tensors in (("values", values), ("gradient", gradients)):
            if tensors is None:
                continue
            if not all(map(_is_plain, tensors, self._numels)):
                return None
            jobs[field] = np.array([t.data_ptr() for t in tensors], np.uint64)[self._known]
        return jobs


def _index_code(n: int, option: Option) -> int:
    return index_code.best(n, option.k) if option.k else 0


def _known(n: int, option: Option) -> bool:
    """Whether compiled code encodes it."""
    if option.operator == "topk":
        return option.values == "log4" and 0 < option.k < n and _index_code(n, option) < index_code.BITMAP
    return option.operator in _CODED and n > 0


def _is_plain(tensor: Tensor, n: int) -> bool:
    flat = tensor.dim() == 1 and tensor.numel() == n and tensor.is_contiguous()
    return flat and tensor.dtype == torch.float32 and tensor.device.type == "cpu"
