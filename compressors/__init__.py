"""Gradient compressors: pure operators from a tensor to bytes and back.

Four functions carry all traffic, and `Batch` does the same for many layers in one call:

    size = wire_bytes(shape, option)                      # exact, before anything is encoded
    used = encode(values, option, out, shape=shape, key=0)
    decode(out[:used], target, scale=1.0)                 # adds; raises FrameError on damaged input
    used = encode_owed(residual, gradient, option, out)   # residual += gradient; encode; residual -= what was sent
"""

from __future__ import annotations

if __name__ != "kimad.compressors":
    raise ImportError("this package is imported as kimad.compressors, not as a top-level package")

from kimad.compressors.batch import Batch
from kimad.compressors.coding import decode, encode, encode_owed
from kimad.compressors.compressor import Compressor, ErrorCurve, Promise
from kimad.compressors.errors import CodecError, FrameError, NonFiniteError, OptionError, TensorError
from kimad.compressors.operators import (
    ALL_COMPRESSORS,
    compressor,
    compressor_by_code,
    damping,
    wire_bytes,
)
from kimad.compressors.option import Option
from kimad.compressors.value_codes import ALL_VALUE_CODES

__all__ = [
    "ALL_COMPRESSORS",
    "ALL_VALUE_CODES",
    "Batch",
    "CodecError",
    "Compressor",
    "ErrorCurve",
    "FrameError",
    "NonFiniteError",
    "Option",
    "OptionError",
    "Promise",
    "TensorError",
    "compressor",
    "compressor_by_code",
    "damping",
    "decode",
    "encode",
    "encode_owed",
    "wire_bytes",
]
