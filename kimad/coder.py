"""Coding of one bucket: residual, frames, and the sum of everybody's frames.

    residual += gradient;  frame = encode(residual);  residual -= decode(frame)
    gradient = sum over ranks, in rank order, of decode(frame) / N        (times `damping`, on both sides, if below 1)

A bucket whose plan is float32 throughout stays as DDP made it, one whose plan is bfloat16 throughout becomes one
bfloat16 tensor: both travel by all-reduce. All other buckets travel as frames, one a layer.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from kimad.compressors import Option, damping, decode, wire_bytes
from kimad.cost import start_s
from kimad.curves import kept_energy
from kimad.errors import ExchangeError
from kimad.layout import Slot, digest
from kimad.memory import Memory
from kimad.plan import BFLOAT16, BUCKET_HEADER_BYTES, Plan
from kimad.residual import Residual
from kimad.statistics import StepLog

BUCKET_HEADER = struct.Struct("<2sBBIq")  # magic, version, flags, layers, step
MAGIC, VERSION, NONFINITE = b"KB", 1, 1
FRAME_HEADER_BYTES = wire_bytes((0,), BFLOAT16)


@final
@dataclass(frozen=True)
class Bucket:
    """One bucket of one step, as the hook hands it over."""

    step: int
    index: int  # position in the step
    buffer: Tensor  # DDP's own flat buffer; receives the averaged gradient
    slots: tuple[Slot, ...]


@final
@dataclass(frozen=True)
class Sending:
    """A bucket ready to travel."""

    bucket: Bucket
    options: tuple[Option, ...]  # of its layers
    mode: str  # "frames": gather `payload` of all ranks; "bfloat16", "plain": all-reduce it
    payload: Tensor  # uint8 frames, the bfloat16 form of the bucket, or DDP's own buffer


@final
class Coder:
    """Encodes and decodes buckets. `encode` and `decode` may run in different threads, for different buckets."""

    def __init__(self, residual: Residual, world_size: int, rank: int) -> None:
        self._residual = residual
        self._world_size = world_size
        self._rank = rank
        self._memory = Memory()
        self.encoding = self.decoding = ""  # what is being worked on, for error messages

    def forget_buffers(self) -> None:
        """Give back all memory: the buckets that it was made for come no more."""
        self._memory.clear()

    def encode(self, bucket: Bucket, plan: Plan, log: StepLog, read_curves: bool) -> Sending:
        """The bucket as the plan says, with the residual added and taken off again."""
        self.encoding = f"bucket {bucket.index}"
        buffer, slots = bucket.buffer, bucket.slots
        if buffer.dtype != torch.float32 or buffer.layout != torch.strided:
            log.nonfinite |= not is_finite_of_any_type(buffer)
            return self.plain(bucket)
        finite = is_finite(buffer)
        log.nonfinite |= not finite
        mode = plan.mode(slots)
        if mode == "float32":
            for slot in slots:
                gradient = buffer[slot.start : slot.stop]
                self._residual.flush(slot.layer.name, gradient)
                if read_curves:
                    log.energy[slot.layer.name] = kept_energy(gradient, bucket.step)
            return self.plain(bucket)
        began_s = time.monotonic()
        options = tuple(plan.options[slot.layer.name] for slot in slots)
        if mode == "bfloat16":
            payload = self._encode_bfloat16(bucket, log, finite, read_curves)
        else:
            payload = self._encode_frames(bucket, plan, log, finite, read_curves)
        log.encode_s += time.monotonic() - began_s
        return Sending(bucket, options, mode, payload)

    def plain(self, bucket: Bucket) -> Sending:
        """DDP's own arithmetic on its own buffer: divided first; any other order differs in the last bit for N = 3."""
        return Sending(bucket, (), "plain", bucket.buffer.mul_(1.0 / self._world_size))

    def decode(self, sending: Sending, frames: Sequence[Tensor], log: StepLog) -> None:
        """Write the average to DDP's buffer. `frames` are everybody's, by rank; empty after an all-reduce."""
        bucket = sending.bucket
        began_s = time.monotonic()
        if sending.mode == "bfloat16":
            bucket.buffer.copy_(sending.payload).mul_(1.0 / self._world_size)
        elif sending.mode == "frames":
            if any(read_flags(frame, rank, bucket) & NONFINITE for rank, frame in enumerate(frames)):
                bucket.buffer.fill_(float("nan"))  # as a plain all-reduce would, for GradScaler to see
            else:
                bucket.buffer.zero_()
                at = BUCKET_HEADER_BYTES
                for slot, option in zip(bucket.slots, sending.options, strict=True):
                    at = self._decode_layer(bucket, slot, option, frames, at, log)
        log.decode_s += time.monotonic() - began_s

    def _encode_bfloat16(self, bucket: Bucket, log: StepLog, finite: bool, read_curves: bool) -> Tensor:
        numel = bucket.buffer.numel()
        wire = self._memory.bytes(("bfloat16", bucket.index), 2 * numel).view(torch.bfloat16)
        if not finite:
            return wire.copy_(bucket.buffer)
        frames = self._memory.bytes(("own", bucket.index), 2 * numel + FRAME_HEADER_BYTES * len(bucket.slots))
        at = 0
        for slot in bucket.slots:
            frame = self._encode_layer(bucket, slot, BFLOAT16, frames[at:], log, read_curves)
            wire[slot.start : slot.stop].view(torch.uint8).copy_(frame[FRAME_HEADER_BYTES:])
            at += frame.numel()
        return wire

    def _encode_frames(self, bucket: Bucket, plan: Plan, log: StepLog, finite: bool, read_curves: bool) -> Tensor:
        own = self._memory.bytes(("own", bucket.index), plan.frame_bytes(bucket.slots))
        flags = 0 if finite else NONFINITE
        header = BUCKET_HEADER.pack(MAGIC, VERSION, flags, len(bucket.slots), bucket.step)
        own[:BUCKET_HEADER_BYTES] = torch.frombuffer(bytearray(header), dtype=torch.uint8)
        if not finite:
            return own  # of the agreed size; nobody reads more than its header
        at = BUCKET_HEADER_BYTES
        for slot in bucket.slots:
            option = plan.options[slot.layer.name]
            at += self._encode_layer(bucket, slot, option, own[at:], log, read_curves).numel()
        if at != own.numel():
            raise ExchangeError(f"encoded {at} bytes where the plan has {own.numel()}")
        return own

    def _encode_layer(
        self, bucket: Bucket, slot: Slot, option: Option, out: Tensor, log: StepLog, read_curves: bool
    ) -> Tensor:
        """One layer: residual += gradient, encode, residual -= decoded. Returns the frame, which lies in `out`."""
        began_s = time.monotonic()
        name, shape = slot.layer.name, slot.layer.shape
        self.encoding = f"layer {name}"
        reading_s = 0.0

        def read(owed: Tensor) -> None:
            nonlocal reading_s
            reading_s = -time.monotonic()
            log.energy[name] = kept_energy(owed, bucket.step)
            reading_s += time.monotonic()

        gradient = bucket.buffer[slot.start : slot.stop]
        look = read if read_curves else None
        key = digest([bucket.step, self._rank, name])  # ranks round at random by themselves: their errors average out
        used = self._residual.encode(name, gradient, option, out, shape=shape, key=key, look=look)
        log.encoded(option.operator, start_s(option, slot.layer.numel), time.monotonic() - began_s - reading_s)
        return out[:used]

    def _decode_layer(
        self, bucket: Bucket, slot: Slot, option: Option, frames: Sequence[Tensor], at: int, log: StepLog
    ) -> int:
        """One layer of the result, summed in rank order so that all ranks round alike. Returns the frames' end."""
        end = at + wire_bytes(slot.layer.shape, option)
        if end > at:
            began_s = time.monotonic()
            target = bucket.buffer[slot.start : slot.stop]
            scale = damping(slot.layer.shape, option) / self._world_size
            for rank, frame in enumerate(frames):
                self.decoding = f"layer {slot.layer.name}, frame of rank {rank}"
                decode(frame[at:end], target, scale=scale)
            log.decoded(option.operator, time.monotonic() - began_s)
        return end


def is_finite(buffer: Tensor) -> bool:
    """Whether a flat float32 buffer holds neither NaN nor infinity; one fast pass, a slow one only in doubt."""
    values = buffer.numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.dot(values, values))) or bool(np.isfinite(values).all())


def is_finite_of_any_type(gradient: Tensor) -> bool:
    """Whether a gradient of any floating-point type, dense or sparse, holds neither NaN nor infinity."""
    values = gradient if gradient.layout == torch.strided else gradient._values()
    return values.numel() == 0 or all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(values))


def read_flags(frame: Tensor, rank: int, bucket: Bucket) -> int:
    """Flags of a rank's bucket header. Raises ExchangeError if it is not the header of this bucket."""
    magic, version, flags, layers, step = BUCKET_HEADER.unpack(frame[:BUCKET_HEADER_BYTES].numpy().tobytes())
    expected = (MAGIC, VERSION, len(bucket.slots), bucket.step)
    if (magic, version, layers, step) != expected or flags not in (0, NONFINITE):
        raise ExchangeError(
            f"rank {rank} sent bytes that are not its frames of step {bucket.step}, bucket {bucket.index}: "
            f"magic {magic!r}, version {version}, flags {flags}, {layers} layers, step {step}"
        )
    return int(flags)
