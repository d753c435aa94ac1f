"""What can go wrong, one class a cause; every message says what was found and what is allowed."""

# ruff: noqa: N818  (the names say what is wrong with the frame; all of them are FrameErrors)

from __future__ import annotations

from typing import final


class CodecError(ValueError):
    """What encoding and decoding raise."""

    layer: int | None = None  # which of a batch it was


@final
class OptionError(CodecError):
    """An option that no operator can carry out on a tensor of this shape."""


@final
class TensorError(CodecError):
    """A tensor of the wrong dtype, device, layout or length was handed in."""


@final
class NonFiniteError(CodecError):
    """NaN or infinity in the values to encode; nothing usable was written."""


class FrameError(CodecError):
    """A frame that `decode` refuses. The target is unchanged."""


@final
class FrameTooShort(FrameError):
    """The frame ends before what its header announces."""


@final
class WrongLength(FrameError):
    """The frame is longer than what its header announces."""


@final
class TrailingBytes(FrameError):
    """Padding behind the entries, or between them, is not zero."""


@final
class BadMagic(FrameError):
    """The frame does not start with the two magic bytes."""


@final
class BadVersion(FrameError):
    """The frame was written by another version of the format."""


@final
class UnknownCodec(FrameError):
    """No operator has this number, or the operator asked is another."""


@final
class UnknownValueCode(FrameError):
    """No value code of the operator has this number."""


@final
class BadIndexCode(FrameError):
    """No index code has this number, or none belongs here."""


@final
class BadCode(FrameError):
    """A code that no value has."""


@final
class BadShape(FrameError):
    """The matrix that the frame announces does not fill the tensor."""


@final
class BadFlags(FrameError):
    """A reserved header byte is not zero."""


@final
class NumelMismatch(FrameError):
    """The frame is about a tensor of another length than the target."""


@final
class CountTooLarge(FrameError):
    """The frame announces more entries than the tensor has."""


@final
class CountMismatch(FrameError):
    """A dense frame does not carry every entry."""


@final
class BadIndices(FrameError):
    """Indices are not as many as announced, not strictly increasing, or beyond the tensor."""


@final
class NonFiniteScale(FrameError):
    """A block's scale is NaN, infinite or outside the range that decodes to finite values."""


@final
class NonFiniteValues(FrameError):
    """The frame carries NaN or infinity as a value."""
