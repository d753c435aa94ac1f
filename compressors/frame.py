"""The 16 bytes in front of every frame.

    offset  0      2        3      4           5         6      7    8      12
            magic  version  codec  value code  index  flags  pad  numel  count     (little endian)

`numel` is the tensor's length, `count` the number of entries carried (in dense frames all); flags and pad are 0.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, final

from kimad.compressors.errors import (
    BadFlags,
    BadMagic,
    BadVersion,
    CountTooLarge,
    FrameTooShort,
    NumelMismatch,
    UnknownCodec,
    WrongLength,
)
from kimad.compressors.tensors import Bytes

MAGIC = b"Ki"
VERSION = 1

_HEADER = struct.Struct("<2sBBBBBBII")
HEADER_BYTES = _HEADER.size


@final
class Header(NamedTuple):
    """The header's fields that vary."""

    codec: int  # operator, `Compressor.code`
    value_code: int  # `ValueCode.code`; 0 in dense frames
    index_code: int  # `index_code`: how indices are written; 0 in dense frames
    numel: int  # entries of the tensor
    entries: int  # entries carried, the frame's `count`


def pack(header: Header, out: Bytes) -> None:
    """Write the header to the first 16 bytes of uint8 `out`."""
    _HEADER.pack_into(
        out.data, 0, MAGIC, VERSION, header.codec, header.value_code, header.index_code, 0, 0, *header[3:]
    )


def codec_of(frame: Bytes) -> int:
    """Return the operator's number. Raises FrameTooShort, BadMagic or BadVersion."""
    if frame.size < HEADER_BYTES:
        raise FrameTooShort(f"frame of {frame.size} bytes: a header needs {HEADER_BYTES}")
    magic, version, codec = struct.unpack_from("<2sBB", frame.data)
    if magic != MAGIC:
        raise BadMagic(f"frame starts with {magic!r}, expected {MAGIC!r}")
    if version != VERSION:
        raise BadVersion(f"frame of format version {version}, only {VERSION} can be read")
    return int(codec)


def parse(frame: Bytes, codec: int, numel: int) -> Header:
    """Return the header of a frame that operator `codec` adds to a target of `numel` entries.

    Raises a FrameError for the first field that is not allowed. The meaning of value and index code is left to the
    operator.
    """
    found = codec_of(frame)
    if found != codec:
        raise UnknownCodec(f"frame of operator number {found}, expected {codec}")
    _, _, _, value_code, index_code, flags, pad, frame_numel, count = _HEADER.unpack_from(frame.data)
    if flags or pad:
        raise BadFlags(f"reserved header bytes are {flags} and {pad}, both must be 0")
    if frame_numel != numel:
        raise NumelMismatch(f"frame of a tensor with {frame_numel} entries, the target has {numel}")
    if count > numel:
        raise CountTooLarge(f"frame announces {count} entries of a tensor that has {numel}")
    return Header(codec, value_code, index_code, frame_numel, count)


def check_length(size: int, needed: int, header_bytes: int) -> None:
    """Raise FrameTooShort or WrongLength unless a body of `size` bytes has exactly those needed."""
    if size < needed:
        raise FrameTooShort(f"frame of {header_bytes + size} bytes: its header announces {header_bytes + needed}")
    if size > needed:
        raise WrongLength(f"frame of {header_bytes + size} bytes: its header announces only {header_bytes + needed}")
