"""Dense frames on a device, written and read as `dense` does it on the CPU: the same pieces, the same bytes.

What a frame announces, its scales and a digest of its codes are checked on the CPU; codes stay on the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kimad.compressors.blocks import BLOCK, blocks_of, read_scales
from kimad.compressors.compressor import Call
from kimad.compressors.dense import DenseCompressor
from kimad.compressors.device_blocks import Noise, add_scaled, check_finite, rows_of
from kimad.compressors.device_codes import CODES
from kimad.compressors.frame import Header
from kimad.compressors.scratch import chunks
from kimad.compressors.tensors import Bytes

AT_ONCE = 16  # the CPU's chunks in a step: about 2 M entries, which keep a device busy and need little memory


def write(
    operator: DenseCompressor, values: Tensor, gradient: Tensor | None, body: Tensor, call: Call
) -> tuple[int, int, int]:
    """What `DenseCompressor.write` does. Raises NonFiniteError before anything is written to the body."""
    n, levels, code = values.numel(), call.option.k, CODES[operator.name]
    if gradient is not None:
        values.add_(gradient)
    check_finite(values, operator.name)
    cut = operator.scale_bytes(n)
    for number, part in enumerate(chunks(n, AT_ONCE * operator.chunk)):
        piece = values[part]
        size = piece.numel()
        noise = Noise(call.key, AT_ONCE * number, operator.chunk, size, values.device)
        scales, codes = code.quantize(rows_of(piece, BLOCK), size, levels, noise)
        body[cut + operator.code_bytes(part.start, levels) : cut + operator.code_bytes(part.stop, levels)] = codes
        if operator.scaled:
            body[4 * (part.start // BLOCK) : 4 * blocks_of(part.stop)] = scales.view(torch.uint8)
        if gradient is not None:
            piece.sub_(code.dequantize(codes, scales, size, levels))
    return levels, 0, n


def read(operator: DenseCompressor, header: Header, body: Tensor, target: Tensor, scale: float) -> None:
    """What `DenseCompressor.read` does. Raises a FrameError before anything is written."""
    n, levels, code = target.numel(), header.value_code, CODES[operator.name]
    operator.check_header(header, body.numel(), n)
    cut = operator.scale_bytes(n)
    known = read_scales(_on_cpu(body[:cut]), n if operator.scaled else 0)
    scales = torch.from_numpy(known).to(target.device)
    pieces = []
    for part in chunks(n, AT_ONCE * operator.chunk):
        where = slice(cut + operator.code_bytes(part.start, levels), cut + operator.code_bytes(part.stop, levels))
        own = slice(part.start // BLOCK, blocks_of(part.stop))
        pieces.append((part, where, own))
        digest = _on_cpu(_worst(body[where].clone(), code.word))  # a clone is aligned, a part of a frame need not be
        operator.check(digest, known[own], part.stop - part.start, levels)
    for part, where, own in pieces:
        decoded = code.dequantize(body[where].clone(), scales[own], part.stop - part.start, levels)
        add_scaled(target[part], decoded, scale)


def _on_cpu(codes: Tensor) -> Bytes:
    array: Bytes = codes.cpu().numpy()
    return array


def _worst(codes: Tensor, word: torch.dtype) -> Tensor:
    """A few codes that are refused if any of these are: the largest, and the last byte, where padding may be."""
    if word == torch.uint8:
        return torch.stack([codes.max(), codes[-1]])
    magnitudes = codes.view(word) & torch.iinfo(word).max
    return magnitudes.max().view(1).view(torch.uint8)
