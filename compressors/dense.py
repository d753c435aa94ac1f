"""Operators that send every entry, in blocks: one loop over pieces that stay in cache, for all of them.

body: ceil(n / 256) scales (float32), if the operator has scales | codes
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import frame as framing
from kimad.compressors.blocks import BLOCK, blocks_of, read_scales
from kimad.compressors.compressor import Call, Compressor, ErrorCurve, check_parameters
from kimad.compressors.errors import BadIndexCode, CountMismatch, OptionError, UnknownValueCode
from kimad.compressors.frame import Header
from kimad.compressors.option import Option
from kimad.compressors.scratch import CHUNK, SCRATCH, add_scaled, chunks
from kimad.compressors.tensors import Bytes, Floats, numel


class DenseCompressor(Compressor):
    """Codes every entry. What an operator adds is how one piece is quantized and dequantized."""

    scaled: bool = True  # whether blocks have scales
    max_k: int = 0  # largest number of levels, where levels are counted
    chunk: int = CHUNK  # entries coded at once; a multiple of 256, and its codes fill whole bytes

    @abstractmethod
    def code_bytes(self, n: int, levels: int) -> int:
        """Bytes of the codes of n entries."""

    @abstractmethod
    def quantize(self, values: Floats, scales: Floats, codes: Bytes, levels: int, key: int, stream: int) -> None:
        """Write scales, (blocks,), and codes of one piece. Raises NonFiniteError."""

    @abstractmethod
    def check(self, codes: Bytes, scales: Floats, n: int, levels: int) -> None:
        """Raise a FrameError if the codes of one piece of n entries could not have been written."""

    @abstractmethod
    def dequantize(self, codes: Bytes, scales: Floats, out: Floats, levels: int) -> None:
        """The values of one piece, the same bits on every machine."""

    def encode_compiled(self, values: Floats, gradient: Floats | None, body: Bytes) -> bool:
        """Do all of `write_entries` in one compiled loop, where there is one. Raises NonFiniteError."""
        return False

    def add_compiled(self, body: Bytes, target: Floats, factor: float) -> bool:
        """Do all of `add_entries` in compiled loops, where there are some. Raises a FrameError."""
        return False

    @final
    def body_bytes(self, shape: Sequence[int], option: Option) -> int:
        check_parameters(self, option)
        if self.counts and not 1 <= option.k <= self.max_k:
            raise OptionError(f"{self.name} with {option.k} {self.counts}, must be from 1 to {self.max_k}")
        return self.entry_bytes(numel(shape), option.k)

    @final
    def entry_bytes(self, n: int, levels: int) -> int:
        """Bytes of the scales and codes of n entries."""
        return self.scale_bytes(n) + self.code_bytes(n, levels)

    @final
    def scale_bytes(self, n: int) -> int:
        """Bytes of the scales of n entries."""
        return 4 * blocks_of(n) if self.scaled else 0

    @final
    def write(self, values: Floats, gradient: Floats | None, body: Bytes, call: Call) -> tuple[int, int, int]:
        self.write_entries(values, gradient, body, call.option.k, call.key)
        return call.option.k, 0, values.size

    @final
    def write_entries(self, values: Floats, gradient: Floats | None, body: Bytes, levels: int, key: int) -> None:
        """Write scales and codes; `gradient` as in `write`. Raises NonFiniteError."""
        if self.encode_compiled(values, gradient, body):
            return
        cut = self.scale_bytes(values.size)
        scales, codes = body[:cut].view("<f4"), body[cut:]
        for stream, part in enumerate(chunks(values.size, self.chunk)):
            piece = values[part]
            if gradient is not None:
                np.add(piece, gradient[part], out=piece)
            where = self._codes(part, levels)
            own = scales[part.start // BLOCK : blocks_of(part.stop)]
            self.quantize(piece, own, codes[where], levels, key, stream)
            if gradient is not None:
                self._add(codes[where], own, piece, levels, -1.0)

    @final
    def add_entries(self, body: Bytes, target: Floats, levels: int, factor: float) -> None:
        """target += factor * the values, all of which is checked before. Raises a FrameError."""
        if self.add_compiled(body, target, factor):
            return
        cut = self.scale_bytes(target.size)
        scales = read_scales(body, target.size) if self.scaled else np.empty(0, np.float32)
        codes = body[cut:]
        pieces = [
            (part, codes[self._codes(part, levels)], scales[part.start // BLOCK : blocks_of(part.stop)])
            for part in chunks(target.size, self.chunk)
        ]
        for part, piece, own in pieces:
            self.check(piece, own, part.stop - part.start, levels)
        for part, piece, own in pieces:
            self._add(piece, own, target[part], levels, factor)

    def _add(self, codes: Bytes, scales: Floats, target: Floats, levels: int, factor: float) -> None:
        decoded = SCRATCH.get("decoded", target.size, np.float32)
        self.dequantize(codes, scales, decoded, levels)
        add_scaled(target, decoded, factor)

    def _codes(self, part: slice, levels: int) -> slice:
        return slice(self.code_bytes(part.start, levels), self.code_bytes(part.stop, levels))

    @final
    def check_header(self, header: Header, size: int, n: int) -> None:
        """Raise a FrameError unless a body of `size` bytes is what the header announces for n entries."""
        levels = header.value_code
        if not (1 <= levels <= self.max_k if self.counts else levels == 0):
            allowed = f"from 1 to {self.max_k}" if self.counts else "0"
            raise UnknownValueCode(f"value code {levels} in a frame of {self.name}, must be {allowed}")
        if header.index_code:
            raise BadIndexCode(f"index code {header.index_code} in a dense frame, must be 0")
        if header.entries != n:
            raise CountMismatch(f"dense frame with {header.entries} entries of a tensor that has {n}")
        framing.check_length(size, self.entry_bytes(n, levels), self.header_bytes)

    @final
    def read(self, header: Header, body: Bytes, target: Floats, scale: float) -> None:
        self.check_header(header, body.size, target.size)
        self.add_entries(body, target, header.value_code, scale)

    @final
    def errors(self, k: NDArray[np.int64], values: str, curve: ErrorCurve) -> NDArray[np.float64]:
        return np.asarray(self.relative_errors(k) * curve.total, np.float64)

    @abstractmethod
    def relative_errors(self, k: NDArray[np.int64]) -> NDArray[np.float64]:
        """Expected squared error as a part of the energy, for every number of levels; measured where not derived."""
