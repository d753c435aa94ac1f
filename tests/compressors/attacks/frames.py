"""The attack frames, byte by byte: (error, operator, name, what is wrong, message, frame) each."""

from __future__ import annotations

import struct
from typing import TypeAlias

N = 301  # entries of the target: not a multiple of 8, 5, 4, 32 or 256, so that every kind of padding is there; 7 x 43
Row: TypeAlias = tuple[str, str, str, str, str, bytes]

NUMBERS = {
    "drop": 0, "float32": 1, "bfloat16": 2, "int8": 3, "topk": 4, "float16": 5, "randomk": 6, "threshold": 7,
    "blocktopk": 8, "sign": 9, "ternary": 10, "qsgd": 11, "natural": 12, "lowrank": 13, "int4": 14,
}  # fmt: skip
VALUES = {"float32": 1, "int8": 2, "log4": 3, "bfloat16": 4, "sign": 5}
BITMAP, WORDS, DENSE_RUN, SEEDED = 32, 33, 34, 35
NAN, INF, MAX = float("nan"), float("inf"), 3.4028234663852886e38


def f32(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def u16(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def i16(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}h", *values)


def u32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def head(
    operator: str, value: int = 0, index: int = 0, count: int = N, numel: int = N, *,
    magic: bytes = b"Ki", version: int = 1, flags: int = 0, pad: int = 0,
) -> bytes:  # fmt: skip
    """16 bytes; `docs/wire-format.md` has the layout."""
    return struct.pack("<2sBBBBBBII", magic, version, NUMBERS[operator], value, index, flags, pad, numel, count)


ONES = f32(*[1.0] * N)
SCALES = f32(1.0, 1.0)  # of 301 entries
INT8 = SCALES + bytes(N)
FLOAT32 = head("float32") + ONES

HEADERS: list[Row] = [
    ("FrameTooShort", "float32", "15-bytes", "ends inside its header", "a header needs 16", FLOAT32[:15]),
    ("FrameTooShort", "float32", "1-byte", "one byte", "frame of 1 bytes", b"K"),
    ("BadMagic", "float32", "zeros", "starts with zeros", "expected b'Ki'", bytes(2) + FLOAT32[2:]),
    ("BadMagic", "float32", "swapped", "magic bytes in the wrong order", "b'iK'", b"iK" + FLOAT32[2:]),
    ("BadVersion", "float32", "0", "version 0", "version 0, only 1", head("float32", version=0) + ONES),
    ("BadVersion", "float32", "255", "version 255", "version 255", head("float32", version=255) + ONES),
    ("UnknownCodec", "none", "17", "operator number 17", "number 17", FLOAT32[:3] + b"\x11" + FLOAT32[4:]),
    ("UnknownCodec", "none", "255", "operator number 255", "number 255", FLOAT32[:3] + b"\xff" + FLOAT32[4:]),
    ("BadFlags", "float32", "flags", "a reserved flag is set", "1 and 0, both must be 0",
     head("float32", flags=1) + ONES),
    ("BadFlags", "int8", "pad", "the reserved byte is set", "0 and 128", head("int8", pad=128) + INT8),
    ("NumelMismatch", "float32", "300", "of a tensor of 300 entries", "301", head("float32", numel=N - 1) + ONES),
    (
        "NumelMismatch", "drop-like", "0", "of a tensor without entries", "with 0 entries, the target has 301",
        head("float32", count=0, numel=0),
    ),
    (
        "NumelMismatch", "topk", "4294967295", "of a tensor of 4294967295 entries", "4294967295",
        head("topk", 1, WORDS, 1, 2**32 - 1) + u16(5) + f32(1),
    ),
    ("WrongLength", "drop", "header", "a dropped layer is an empty frame", "announces only 0", head("drop", count=0)),
]  # fmt: skip

DENSE: list[Row] = [
    ("FrameTooShort", "float32", "cut", "the last byte is missing", "announces 1220", FLOAT32[:-1]),
    ("FrameTooShort", "int8", "no-scales", "the body ends inside the scales", "announces 325", head("int8") + f32(1)),
    ("FrameTooShort", "qsgd", "8-bit", "127 levels, but 2 bits an entry", "announces",
     head("qsgd", 127) + SCALES + bytes(76)),
    ("WrongLength", "float32", "extended", "one byte too many", "announces only 1220", FLOAT32 + b"\0"),
    ("WrongLength", "ternary", "extended", "one byte too many", "announces only", head("ternary") + SCALES + b"y" * 62),
    ("CountMismatch", "float32", "300", "carries 300 of 301 entries", "300 entries", head("float32", count=300) + ONES),
    ("CountMismatch", "sign", "0", "carries no entry", "has 301", head("sign", count=0) + SCALES + bytes(38)),
    ("CountTooLarge", "int8", "302", "carries 302 of 301 entries", "302 entries", head("int8", count=302) + INT8),
    ("UnknownValueCode", "float32", "1", "a value code in a dense frame", "must be 0", head("float32", 1) + ONES),
    ("UnknownValueCode", "qsgd", "0-levels", "no levels", "must be from 1 to 127",
     head("qsgd", 0) + SCALES + bytes(76)),
    ("UnknownValueCode", "qsgd", "128-levels", "128 levels", "value code 128", head("qsgd", 128) + INT8),
    ("BadIndexCode", "int8", "1", "an index code in a dense frame", "must be 0", head("int8", 0, 1) + INT8),
    ("TrailingBytes", "sign", "bits", "bits behind the last sign", "must be 0", head("sign") + SCALES + b"\xff" * 38),
    ("TrailingBytes", "int4", "nibble", "a nibble behind the last entry", "must be 0",
     head("int4") + SCALES + b"\x77" * 151),
    ("TrailingBytes", "qsgd", "bits", "bits behind the last entry", "must be 0",
     head("qsgd", 1) + SCALES + b"\x55" * 76),
    (
        "TrailingBytes", "ternary", "digits", "digits behind the last entry are not zero", "behind 301 entries",
        head("ternary") + SCALES + b"y" * 60 + b"\0",
    ),
    ("BadCode", "ternary", "243", "243 is no five digits", "code 243", head("ternary") + SCALES + b"\xf3" + b"y" * 60),
    ("BadCode", "ternary", "255", "255 is no five digits", "code 255", head("ternary") + SCALES + b"y" * 60 + b"\xff"),
    ("NonFiniteScale", "int8", "nan", "the second scale is NaN", "block 1", head("int8") + f32(1, NAN) + bytes(N)),
    ("NonFiniteScale", "int8", "infinite", "a scale is infinite", "scale inf", head("int8") + f32(INF, 1) + bytes(N)),
    ("NonFiniteScale", "int8", "negative", "a scale is negative", "scale -1", head("int8") + f32(-1, 1) + bytes(N)),
    (
        "NonFiniteScale", "int8", "too-large", "a scale with which a code decodes to infinity", "must be from 0 to",
        head("int8") + f32(MAX / 100, 1) + b"\x80" * N,
    ),
    ("NonFiniteScale", "sign", "too-large", "a mean of 3e38", "scale 3", head("sign") + f32(3e38, 1) + bytes(38)),
    ("NonFiniteScale", "qsgd", "nan", "a scale is NaN", "scale nan", head("qsgd", 1) + f32(NAN, 1) + bytes(76)),
    ("NonFiniteScale", "natural", "3", "a scale of 3", "no power of two", head("natural") + f32(3, 1) + bytes(N)),
    (
        "NonFiniteScale", "natural", "negative-zero", "a scale of -0.0, whose bits would give infinity", "-0.0",
        head("natural") + f32(-0.0, 1) + b"\x02" * N,
    ),
    (
        "NonFiniteScale", "float16", "too-large", "a scale with which the largest float16 becomes infinite", "scale",
        head("float16") + f32(2.0**113, 1) + u16(0x7BFF) * N,
    ),
    ("NonFiniteValues", "float16", "nan", "a NaN", "NaN or infinity",
     head("float16") + SCALES + u16(0x7E00) + bytes(600)),
    ("NonFiniteValues", "float16", "infinite", "infinity", "NaN or infinity",
     head("float16") + SCALES + u16(0xFC00) * N),
    ("NonFiniteValues", "bfloat16", "infinite", "infinity", "NaN or infinity",
     head("bfloat16") + bytes(600) + u16(0xFF80)),
    ("NonFiniteValues", "float32", "nan", "the last entry is NaN", "NaN or infinity", FLOAT32[:-4] + f32(NAN)),
    ("NonFiniteValues", "float32", "infinite", "the first is -inf", "NaN or infinity",
     head("float32") + f32(-INF) + ONES[4:]),
]  # fmt: skip


def topk(index: int, indices: bytes, values: bytes = f32(1, 2, 3), *, value: str = "float32", count: int = 3) -> bytes:
    return head("topk", VALUES[value], index, count) + indices + values


GOOD = u16(7, 9, 300)
ELIAS_FANO = b"\xd0" + bytes([7, 9, 300 - 256])  # 8 low bits: high parts 0, 0, 1 are bits 0, 1 and 3


def log4(low: int, span: int, codes: bytes = b"\x10\x02") -> bytes:
    return topk(WORDS, GOOD, i16(low, span) + codes, value="log4")


SPARSE: list[Row] = [
    ("FrameTooShort", "topk", "cut", "the last value is cut", "3 entries need", topk(WORDS, GOOD)[:-1]),
    ("FrameTooShort", "topk", "no-body", "nothing behind the header", "3 entries need 18", topk(WORDS, b"", b"")),
    ("FrameTooShort", "randomk", "all", "announces all entries of a body of 12 bytes", "301 entries need",
     head("randomk", 1, SEEDED) + bytes(12)),
    ("CountTooLarge", "topk", "4294967295", "announces 4294967295 entries", "4294967295",
     topk(WORDS, GOOD, count=2**32 - 1)),
    ("CountTooLarge", "topk", "302", "announces one entry more than there is", "302", topk(WORDS, GOOD, count=N + 1)),
    ("CountTooLarge", "blocktopk", "11", "announces 11 of 10 blocks of 32", "11 blocks",
     head("blocktopk", 1, WORDS, 11) + u16(*range(11)) + bytes(4 * 32 * 11)),
    ("CountMismatch", "topk", "dense-run", "a dense run of 300 of 301 entries", "300 entries",
     topk(DENSE_RUN, b"", ONES[4:], count=N - 1)),
    ("UnknownValueCode", "topk", "0", "no value code", "value code number 0",
     b"".join([head("topk", 0, WORDS, 3), GOOD, ONES])),
    ("UnknownValueCode", "randomk", "255", "value code 255", "255", head("randomk", 255, SEEDED, 1) + bytes(12)),
    ("BadIndexCode", "topk", "31", "index code 31", "31, allowed are 0 to 30", topk(31, GOOD)),
    ("BadIndexCode", "topk", "255", "index code 255", "index code 255", topk(255, GOOD)),
    ("BadIndexCode", "topk", "seeded", "the places of random-k in a frame of top-k", "35 in", topk(SEEDED, bytes(8))),
    ("BadIndexCode", "randomk", "words", "indices in a frame of random-k", "33 in",
     head("randomk", 1, WORDS, 3) + GOOD + ONES[:12]),
    ("BadIndices", "topk", "falling", "indices out of order", "7 follows 9", topk(WORDS, u16(9, 7, 300))),
    ("BadIndices", "topk", "twice", "an index comes twice, so that it would be added once", "9 follows 9",
     topk(WORDS, u16(7, 9, 9))),
    ("BadIndices", "topk", "beyond", "the last index is one too large", "index 301", topk(WORDS, u16(7, 9, 301))),
    ("BadIndices", "topk", "65535", "an index far beyond the tensor", "index 65535", topk(WORDS, u16(7, 9, 65535))),
    ("BadIndices", "threshold", "beyond", "an index beyond the tensor", "index 301",
     head("threshold", 1, WORDS, 1) + u16(301) + f32(1)),
    ("BadIndices", "blocktopk", "beyond", "block 10 of 10", "index 10",
     head("blocktopk", 1, WORDS, 1) + u16(10) + bytes(128)),
    ("BadIndices", "topk", "bitmap-many", "4 bits are set for 3 entries", "4 bits", topk(BITMAP, b"\x0f" + bytes(37))),
    ("BadIndices", "topk", "bitmap-few", "no bit is set for 3 entries", "0 bits", topk(BITMAP, bytes(38))),
    ("BadIndices", "topk", "bitmap-behind", "a bit behind the bitmap's end", "behind the 301",
     topk(BITMAP, b"\3" + bytes(36) + b"\x20")),
    ("BadIndices", "topk", "high-none", "no bit is set in the high parts", "0 bits", topk(8, b"\0" + ELIAS_FANO[1:])),
    ("BadIndices", "topk", "high-all", "every bit is set in the high parts", "8 bits",
     topk(8, b"\xff" + ELIAS_FANO[1:])),
    ("BadIndices", "topk", "high-behind", "a bit behind the high parts", "bit 7 is set behind",
     topk(8, b"\xc1" + ELIAS_FANO[1:])),
    ("BadIndices", "topk", "low-beyond", "low bits make the last index too large", "index 511",
     topk(8, b"\xd0\x07\x09\xff")),
    ("BadIndices", "topk", "low-twice", "low bits repeat an index", "7 follows 7", topk(8, b"\xd0\x07\x07\x2c")),
    ("BadIndices", "topk", "30-low-bits", "30 low bits make indices of 2^30 - 1", "1073741823 follows",
     topk(30, b"\xe0" + b"\xff" * 10 + b"\x0f\x3f")),
    ("TrailingBytes", "topk", "behind", "a byte behind the values", "not all zero", topk(WORDS, GOOD) + b"\0\1"),
    ("TrailingBytes", "topk", "no-entries", "a body without entries", "behind 0 entries", topk(WORDS, GOOD, count=0)),
    ("TrailingBytes", "topk", "nibble", "a nibble behind the last value", "must be 0", log4(0, 256, b"\x10\x12")),
    ("TrailingBytes", "topk", "low-bits", "a nibble behind the low bits", "must be 0",
     topk(4, b"\xc0\0\x08\x97\xfc")),
    ("TrailingBytes", "topk", "signs", "bits behind the last sign", "must be 0",
     topk(WORDS, GOOD, f32(1) + b"\xff", value="sign")),
    ("NonFiniteScale", "topk", "log4-low", "a magnitude below the normal range", "exponents from", log4(-32768, 0)),
    ("NonFiniteScale", "topk", "log4-high", "a magnitude of 2^128", "exponents from", log4(32767, 1)),
    ("NonFiniteScale", "topk", "log4-negative-span", "a span below 0", "spans from", log4(0, -1)),
    ("NonFiniteScale", "topk", "log4-wide", "a span of 128 octaves", "spans from", log4(-32256, 32767)),
    ("NonFiniteScale", "topk", "int8", "a scale of NaN", "scale nan",
     topk(WORDS, GOOD, f32(NAN) + b"\1\2\3", value="int8")),
    ("NonFiniteScale", "topk", "sign", "a negative mean", "scale -1", topk(WORDS, GOOD, f32(-1) + b"\1", value="sign")),
    ("NonFiniteValues", "topk", "float32", "a value is infinite", "NaN or infinity", topk(WORDS, GOOD, f32(1, INF, 2))),
    ("NonFiniteValues", "topk", "bfloat16", "a value is NaN", "NaN or infinity",
     topk(WORDS, GOOD, u16(0, 1, 0x7FC0), value="bfloat16")),
    ("NonFiniteValues", "randomk", "float32", "a value is NaN", "NaN or infinity",
     head("randomk", 1, SEEDED, 1) + bytes(8) + f32(NAN)),
    ("NonFiniteValues", "blocktopk", "padding", "NaN in a block, behind the end of the tensor", "NaN or infinity",
     head("blocktopk", 1, WORDS, 1) + u16(9) + f32(*[1.0] * 31, NAN)),
]  # fmt: skip


def lowrank(rows: int, count: int = 1, floats: int = 50, *, value: int = 1, index: int = 0, last: float = 1.0) -> bytes:
    """Rank `count`; the matrix of 301 entries has 7 x 43."""
    return head("lowrank", value, index, count) + u32(rows) + f32(*[1.0] * (floats - 1), last)


LOW_RANK: list[Row] = [
    ("FrameTooShort", "lowrank", "no-rows", "ends before the number of rows", "announces 20",
     head("lowrank", 1, 0, 1) + b"\7\0"),
    ("FrameTooShort", "lowrank", "cut", "the last factor is cut", "announces 220", lowrank(7)[:-1]),
    ("WrongLength", "lowrank", "extended", "one number too many", "announces only 220", lowrank(7, floats=51)),
    ("BadShape", "lowrank", "0-rows", "no rows, which divides by zero", "0 rows of rank 1", lowrank(0)),
    ("BadShape", "lowrank", "2-rows", "301 entries are not 2 rows", "2 rows", lowrank(2)),
    ("BadShape", "lowrank", "4294967295-rows", "4294967295 rows", "4294967295 rows", lowrank(2**32 - 1)),
    ("BadShape", "lowrank", "rank-8", "rank 8 of 7 rows", "rank 8", lowrank(7, 8, 400)),
    ("BadShape", "lowrank", "whole-7", "a tensor that travels whole has one row", "7 rows of rank 0", lowrank(7, 0, N)),
    ("CountTooLarge", "lowrank", "rank-302", "rank 302", "302 entries", lowrank(7, 302)),
    ("UnknownValueCode", "lowrank", "int8", "a value code that low rank does not have", "number 2",
     lowrank(7, value=2)),
    ("BadIndexCode", "lowrank", "32", "an index code", "must be 0", lowrank(7, index=32)),
    ("NonFiniteValues", "lowrank", "nan", "a factor has a NaN", "NaN or infinity", lowrank(7, last=NAN)),
    ("NonFiniteValues", "lowrank", "overflow", "factors are finite, their product is not", "product",
     head("lowrank", 1, 0, 1) + u32(7) + f32(*[1e30] * 50)),
    ("NonFiniteValues", "lowrank", "sum-overflow", "products are finite, their sum is not", "product",
     head("lowrank", 1, 0, 2) + u32(7) + f32(*[1.0] * 14, *[3e38] * 86)),
]  # fmt: skip
