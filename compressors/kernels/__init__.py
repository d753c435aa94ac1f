"""Loops that numpy cannot fuse, compiled where there was a C compiler at installation; numpy stands in elsewhere.

Each function gives the bits of the numpy code beside its call, which a test compares. The library is plain C and knows
nothing of Python, so that ctypes loads it and releases the interpreter's lock while it runs. What a function is given
is checked here: dtype, contiguity, and that nothing is read or written outside of an array.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import c_float, c_int, c_int64, c_uint32, c_void_p
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from kimad.compressors.scratch import SCRATCH
from kimad.compressors.tensors import Bytes, Floats, Indices

BLOCK = 256  # as kernels.h has it
LOG4_LEVELS = 254 * 256  # as log4.c has it
HEADER_BYTES, VALUE_CODE, COUNT = 16, 4, slice(12, 16)  # as frame.c has them
JOB = np.dtype([  # as kernels.h has it
    ("values", np.uint64), ("gradient", np.uint64), ("n", np.int64), ("k", np.int64), ("start", np.int64),
    ("bytes", np.int64), ("codec", np.int32), ("index_code", np.int32), ("factor", np.float32), ("unused", np.int32),
])  # fmt: skip
_ARGUMENTS: dict[str, tuple[Any, ...]] = {  # C types
    "select_room": (c_int64, c_int64),
    "select_largest": (c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_void_p),
    "add_at": (c_void_p, c_int64, c_void_p, c_void_p, c_int64, c_float),
    "elias_fano_encode": (c_void_p, c_int64, c_int64, c_int, c_void_p, c_int64),
    "elias_fano_decode": (c_void_p, c_int64, c_int64, c_int64, c_int, c_void_p),
    "log4_encode": (c_void_p, c_int64, c_void_p, c_void_p),
    "log4_decode": (c_void_p, c_int64, c_void_p, c_void_p),
    "linear_encode": (c_void_p, c_void_p, c_int64, c_int, c_float, c_float, c_void_p),
    "linear_add": (c_void_p, c_int64, c_int, c_void_p, c_float),
    "bfloat16_encode": (c_void_p, c_void_p, c_int64, c_void_p),
    "bfloat16_finite": (c_void_p, c_int64),
    "bfloat16_add": (c_void_p, c_int64, c_void_p, c_float),
    "add_frame": (c_void_p, c_int64, c_void_p, c_int64, c_float, c_float, c_void_p, c_void_p, c_void_p, c_int64),
    "encode_frames": (c_void_p, c_int64, c_void_p, c_float, c_float, c_void_p, c_void_p, c_void_p, c_void_p),
    "add_frames": (c_void_p, c_int64, c_int64, c_void_p, c_float, c_void_p, c_void_p, c_void_p, c_int64),
}
_RESULTS: dict[str, Any] = dict.fromkeys(("select_room", "select_largest", "encode_frames", "add_frames"), c_int64)


def _load() -> ctypes.CDLL | None:
    """The library that installation built, or None. Frames are little-endian, and so are the kernels."""
    folder = Path(__file__).parent
    built = [path for suffix in EXTENSION_SUFFIXES if (path := folder / f"_compiled{suffix}").is_file()]
    if not built or sys.byteorder != "little":
        return None
    try:
        library = ctypes.CDLL(str(built[0]))
        library.header_crc.restype = c_uint32
        if library.header_crc() != crc32((folder / "kernels.h").read_bytes()):
            return None  # built from other sources than this file is for
    except (OSError, AttributeError):  # of another machine, or something else altogether
        return None
    for name, arguments in _ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, _RESULTS.get(name, c_int)
    return library


_LIBRARY = _load()
_enabled = _LIBRARY is not None


def compiled() -> bool:
    """Whether the functions below can be called."""
    return _enabled


def _at(array: NDArray[Any], dtype: type[np.generic], least: int) -> int:
    """The address of a flat array. Raises ValueError unless it holds at least so many aligned entries of this dtype."""
    if array.dtype != dtype or array.size < least or not (array.flags.c_contiguous and array.flags.aligned):
        raise ValueError(f"{array.dtype} array of {array.size} entries, must be {least} of {dtype.__name__} in a row")
    return array.ctypes.data


def _blocks(n: int) -> int:
    return -(-n // BLOCK)


def select(values: Floats, k: int, gradient: Floats | None) -> tuple[Indices, Floats] | None:
    """Places and values of the k >= 1 largest, as `select.select` gives them, in scratch memory; values += gradient.

    None, and only a part is added, where NaN or infinity is among them.
    """
    n = values.size
    added = None if gradient is None else _at(gradient, np.float32, n)
    addresses = _select_scratch(_call("select_room", n, k))
    count = _call("select_largest", _at(values, np.float32, 1), added, n, k, *addresses)
    if count < 0:
        return None
    return SCRATCH.get("select indices", count, np.int32), SCRATCH.get("select values", count, np.float32)


def _select_scratch(room: int) -> tuple[int, int, int]:
    return (
        SCRATCH.at("select indices", room, np.int32),
        SCRATCH.at("select values", room, np.float32),
        SCRATCH.at("select between", room, np.float32),
    )


def add_at(target: Floats, indices: Indices, decoded: Floats, scale: float) -> None:
    """target[indices] += scale * decoded. Raises IndexError, and adds nothing, for an index outside."""
    count = indices.size
    if not _call("add_at", _at(target, np.float32, 0), target.size, _at(indices, np.int32, 0),
                 _at(decoded, np.float32, count), count, scale):  # fmt: skip
        raise IndexError(f"an index outside of {target.size} entries")


def elias_fano_encode(indices: Indices, n: int, low_bits: int, out: Bytes) -> None:
    """Write k >= 1 increasing indices below n. Raises ValueError where `out` is too short for them."""
    if not _call("elias_fano_encode", _at(indices, np.int32, 1), indices.size, n, low_bits, _at(out, np.uint8, 0),
                 out.size):  # fmt: skip
        raise ValueError(f"{indices.size} indices up to {indices[-1]}, below {n}, in {out.size} bytes")


def elias_fano_decode(body: Bytes, n: int, low_bits: int, indices: Indices) -> bool:
    """Read as many indices as there is room for; False if the body is not one that was written."""
    return bool(
        _call("elias_fano_decode", _at(body, np.uint8, 0), body.size, n, indices.size, low_bits,
              _at(indices, np.int32, 1))
    )  # fmt: skip


def log4_encode(values: Floats, levels: Floats, body: Bytes) -> bool:
    """Write low, span and codes of k >= 1 values, `levels` being all there are; False where one is not finite."""
    k = values.size
    return bool(
        _call("log4_encode", _at(values, np.float32, 1), k, _at(levels, np.float32, LOG4_LEVELS),
              _at(body, np.uint8, 4 * _blocks(k) + (k + 1) // 2))
    )  # fmt: skip


def log4_decode(body: Bytes, levels: Floats, out: Floats) -> bool:
    """The same back; False if the body is not one that was written."""
    k = out.size
    return bool(
        _call("log4_decode", _at(body, np.uint8, 4 * _blocks(k) + (k + 1) // 2), k,
              _at(levels, np.float32, LOG4_LEVELS), _at(out, np.float32, 1))
    )  # fmt: skip


def linear_bytes(n: int, bits: int) -> int:
    """Bytes of the scales and codes of n entries."""
    return 4 * _blocks(n) + (n * bits + 7) // 8


def linear_encode(values: Floats, gradient: Floats | None, bits: int, largest: float, tiny: float, body: Bytes) -> bool:
    """Scales from `tiny` to `largest`, or 0, and codes of 4 or 8 bits; False where a value is not finite.

    With a gradient: values += gradient first, and values -= what was coded last.
    """
    n = values.size
    added = None if gradient is None else _at(gradient, np.float32, n)
    return bool(
        _call("linear_encode", _at(values, np.float32, 0), added, n, bits, largest, tiny,
              _at(body, np.uint8, linear_bytes(n, bits)))
    )  # fmt: skip


def linear_add(body: Bytes, bits: int, target: Floats, factor: float) -> None:
    """target += factor * what scales and codes carry."""
    n = target.size
    _call("linear_add", _at(body, np.uint8, linear_bytes(n, bits)), n, bits, _at(target, np.float32, 0), factor)


def bfloat16_encode(values: Floats, gradient: Floats | None, codes: Bytes) -> bool:
    """The nearest bfloat16, at most the largest finite one; False where a value is not finite.

    With a gradient: values += gradient first, and values -= what was coded last.
    """
    n = values.size
    added = None if gradient is None else _at(gradient, np.float32, n)
    return bool(_call("bfloat16_encode", _at(values, np.float32, 0), added, n, _at(codes, np.uint8, 2 * n)))


def bfloat16_finite(codes: Bytes) -> bool:
    """Whether no code is infinity or NaN."""
    return bool(_call("bfloat16_finite", _at(codes, np.uint8, 0), codes.size // 2))


def bfloat16_add(codes: Bytes, target: Floats, factor: float) -> None:
    """target += factor * what the codes carry."""
    n = target.size
    _call("bfloat16_add", _at(codes, np.uint8, 2 * n), n, _at(target, np.float32, 0), factor)


def add_frame(frame: Bytes, target: Floats, factor: float, largest: float, levels: Floats) -> bool:
    """target += factor * what the frame carries, all of which is checked before; False if it is not for this kernel.

    `largest`: of a scale; `levels`: of log4.
    """
    room = 0
    if frame.size >= HEADER_BYTES and frame[VALUE_CODE]:  # some entries, in half a byte each at least
        room = min(target.size, 2 * frame.size, int.from_bytes(frame[COUNT].tobytes(), "little"))
    return bool(
        _call("add_frame", _at(frame, np.uint8, 0), frame.size, _at(target, np.float32, 0), target.size, factor,
              largest, _at(levels, np.float32, LOG4_LEVELS), SCRATCH.at("kept indices", room, np.int32),
              SCRATCH.at("kept values", room, np.float32), room)
    )  # fmt: skip


def encode_frames(jobs: NDArray[np.void], frames: Bytes, largest: float, tiny: float, levels: Floats) -> int:
    """Write the frames of all jobs; with gradients, values += gradient first, and values -= what was sent last.

    Every address of a job must be that of as many entries as it has, and its frame must lie within `frames`.
    Returns how many were written: fewer than all where NaN or infinity is among the values of the next.
    """
    address, sparse = _jobs(jobs, frames), jobs[jobs["k"] > 0]
    room = max((_call("select_room", int(n), int(k)) for n, k in zip(sparse["n"], sparse["k"], strict=True)), default=0)
    return _call("encode_frames", address, jobs.size, _at(frames, np.uint8, 0), largest, tiny,
                 _at(levels, np.float32, LOG4_LEVELS), *_select_scratch(room))  # fmt: skip


def add_frames(jobs: NDArray[np.void], first: int, frames: Bytes, largest: float, levels: Floats) -> int:
    """values += factor * what the frames of the jobs from number `first` on carry, each checked before.

    Returns the number of the first that is not for this kernel, to which nothing is added, or how many there are.
    """
    address, room = _jobs(jobs, frames), int(jobs["k"].max(initial=0))
    return _call("add_frames", address, first, jobs.size, _at(frames, np.uint8, 0), largest,
                 _at(levels, np.float32, LOG4_LEVELS), SCRATCH.at("kept indices", room, np.int32),
                 SCRATCH.at("kept values", room, np.float32), room)  # fmt: skip


def _jobs(jobs: NDArray[np.void], frames: Bytes) -> int:
    """The address of the jobs. Raises ValueError if a frame lies outside of `frames`."""
    if jobs.dtype != JOB or not jobs.flags.c_contiguous:
        raise ValueError(f"jobs of {jobs.dtype}, must be JOB, in a row")
    start, end = jobs["start"], jobs["start"] + jobs["bytes"]
    if jobs.size and (start.min() < 0 or end.max() > frames.size):
        raise ValueError(f"frames from {start.min()} to {end.max()} in {frames.size} bytes")
    return jobs.ctypes.data


def _call(name: str, *arguments: Any) -> int:
    found: int = getattr(_LIBRARY, name)(*arguments)
    return found
