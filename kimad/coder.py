"""Coding of one bucket: error feedback, frames, and the sum of everybody's frames.

    residual += gradient;  frame = encode(residual);  residual -= decode(frame)              (EF14; `error_feedback`)
    gradient = sum over ranks, in rank order, of decode(frame) / N        (times `damping`, on both sides, if below 1)

A bucket whose plan is float32 throughout stays as DDP made it, one whose plan is bfloat16 throughout becomes one
bfloat16 tensor: both travel by all-reduce. All other buckets travel as frames, one a layer, those of one operator
together.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from kimad.compressors import Batch, CodecError, Option, damping, wire_bytes
from kimad.cost import start_s
from kimad.curves import kept_energy, squared_norm
from kimad.error_feedback import ErrorFeedback
from kimad.errors import ExchangeError
from kimad.internals import sparse_parts
from kimad.layout import Slot, digest
from kimad.memory import Memory
from kimad.plan import BFLOAT16, BUCKET_HEADER_BYTES, Plan
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
class Group:
    """The layers of a bucket that one operator codes; their frames lie one behind the other."""

    slots: tuple[Slot, ...]
    batch: Batch
    names: tuple[str, ...]
    keys: tuple[int, ...]  # one a layer, so that no two round alike
    scales: tuple[float, ...]  # of what is decoded: damping / N
    expected_s: float  # of coding, before anything was measured

    @classmethod
    def of(cls, slots: Sequence[Slot], options: Sequence[Option], world_size: int) -> Group:
        """From layers and their options."""
        layers = [slot.layer for slot in slots]
        return cls(
            tuple(slots),
            Batch([layer.shape for layer in layers], options),
            tuple(layer.name for layer in layers),
            tuple(digest([layer.name]) for layer in layers),
            tuple(damping(layer.shape, option) / world_size for layer, option in zip(layers, options, strict=True)),
            sum(start_s(option, layer.numel) for layer, option in zip(layers, options, strict=True)),
        )

    @property
    def operator(self) -> str:
        """Its name."""
        return self.batch.options[0].operator

    def parts(self, buffer: Tensor) -> list[Tensor]:
        """The layers' own parts of a bucket's flat buffer."""
        return [buffer[slot.start : slot.stop] for slot in self.slots]


def grouped(slots: Sequence[Slot], options: Sequence[Option], world_size: int) -> tuple[Group, ...]:
    """The layers of a bucket by their operators, in the order in which these come up first."""
    members: dict[str, list[int]] = {}
    for i, option in enumerate(options):
        members.setdefault(option.operator, []).append(i)
    return tuple(Group.of([slots[i] for i in own], [options[i] for i in own], world_size) for own in members.values())


@final
@dataclass(frozen=True)
class Sending:
    """A bucket ready to travel."""

    bucket: Bucket
    groups: tuple[tuple[Group, ...], ...]  # by rank, what it sends of the layers; nothing for a plain one
    mode: str  # "frames": gather `payload` of all ranks; "bfloat16", "plain": all-reduce it
    payload: Tensor  # uint8 frames, the bfloat16 form of the bucket, or DDP's own buffer
    told: tuple[Slot, ...] = ()  # layers whose error feedback follows their average

    @property
    def frame_bytes(self) -> list[int]:
        """Of each rank's frames, header included."""
        return [BUCKET_HEADER_BYTES + sum(group.batch.wire_bytes for group in own) for own in self.groups]


@final
class Coder:
    """Encodes and decodes buckets. `encode` and `decode` may run in different threads, for different buckets."""

    def __init__(self, feedback: ErrorFeedback, world_size: int, rank: int) -> None:
        self._feedback = feedback
        self._world_size = world_size
        self._rank = rank
        self._memory = Memory()
        self._groups: dict[tuple[tuple[Slot, ...], bool], tuple[Sequence[Option], tuple[Group, ...]]] = {}
        self.encoding = self.decoding = ""  # what is being worked on, for error messages

    def forget_buffers(self) -> None:
        """Give back all memory: the buckets that it was made for come no more."""
        self._memory.clear()
        self._groups.clear()

    def encode(self, bucket: Bucket, plan: Plan, log: StepLog, read_curves: bool) -> Sending:
        """The bucket as the plan says, by way of the error feedback."""
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
                if read_curves:
                    log.gradient_square[slot.layer.name] = squared_norm(gradient)
                if finite:  # or what is remembered would be poisoned; the step is void
                    self._feedback.flush(slot.layer.name, gradient)
                if read_curves:
                    log.energy[slot.layer.name] = kept_energy(gradient, bucket.step)
            return replace(self.plain(bucket), told=slots if self._feedback.follows_average else ())
        began_s = time.monotonic()
        common = self._grouped(slots, plan.options, own=False)
        own = self._grouped(slots, plan.own, own=True) if plan.own_ranks else common
        groups = tuple(own if rank in plan.own_ranks else common for rank in range(self._world_size))
        if mode == "bfloat16":
            payload = self._encode_bfloat16(bucket, groups[self._rank], log, finite, read_curves)
        else:
            payload = self._encode_frames(bucket, groups[self._rank], log, finite, read_curves)
        log.encode_s += time.monotonic() - began_s
        return Sending(bucket, groups, mode, payload, told=slots if self._feedback.follows_average else ())

    def plain(self, bucket: Bucket) -> Sending:
        """DDP's own arithmetic on its own buffer: divided first; any other order differs in the last bit for N = 3."""
        return Sending(bucket, (), "plain", bucket.buffer.mul_(1.0 / self._world_size))

    def decode(self, sending: Sending, frames: Sequence[Tensor], log: StepLog) -> None:
        """Write the average to DDP's buffer. `frames` are everybody's, by rank; empty after an all-reduce."""
        bucket, void = sending.bucket, False
        began_s = time.monotonic()
        if sending.mode == "bfloat16":
            bucket.buffer.copy_(sending.payload).mul_(1.0 / self._world_size)
        elif sending.mode == "frames":
            if any(read_flags(frame, rank, bucket) & NONFINITE for rank, frame in enumerate(frames)):
                bucket.buffer.fill_(float("nan"))  # as a plain all-reduce would, for GradScaler to see
                void = True
            else:
                bucket.buffer.zero_()
                targets: dict[int, list[Tensor]] = {}  # of each group, which most ranks have in common
                for rank, frame in enumerate(frames):  # in this order, so that all ranks round alike
                    start = BUCKET_HEADER_BYTES
                    for group in sending.groups[rank]:
                        if id(group) not in targets:
                            targets[id(group)] = group.parts(bucket.buffer)
                        end = start + group.batch.wire_bytes
                        self._decode_group(group, targets[id(group)], frame[start:end], rank, log)
                        start = end
        for slot in () if void else sending.told:
            average = bucket.buffer[slot.start : slot.stop]
            self._feedback.arrived(slot.layer.name, average, whole=sending.mode != "frames")
        log.decode_s += time.monotonic() - began_s

    def _grouped(self, slots: tuple[Slot, ...], chosen: Mapping[str, Option], *, own: bool) -> tuple[Group, ...]:
        options = [chosen[slot.layer.name] for slot in slots]
        before = self._groups.get((slots, own))
        if before is None or before[0] != options:
            before = self._groups[slots, own] = (options, grouped(slots, options, self._world_size))
        return before[1]

    def _encode_bfloat16(
        self, bucket: Bucket, groups: tuple[Group, ...], log: StepLog, finite: bool, read_curves: bool
    ) -> Tensor:
        numel = bucket.buffer.numel()
        wire = self._memory.bytes(("bfloat16", bucket.index), 2 * numel).view(torch.bfloat16)
        if not finite:
            return wire.copy_(bucket.buffer)
        for group in groups:  # one; all layers are bfloat16
            frames = self._memory.bytes(("own", bucket.index), group.batch.wire_bytes)
            self._encode_group(bucket, group, frames, log, read_curves, whole=True)
            for i, slot in enumerate(group.slots):
                wire[slot.start : slot.stop].view(torch.uint8).copy_(group.batch.part(frames, i)[FRAME_HEADER_BYTES:])
        return wire

    def _encode_frames(
        self, bucket: Bucket, groups: tuple[Group, ...], log: StepLog, finite: bool, read_curves: bool
    ) -> Tensor:
        size = BUCKET_HEADER_BYTES + sum(group.batch.wire_bytes for group in groups)
        own = self._memory.bytes(("own", bucket.index), size)
        flags = 0 if finite else NONFINITE
        header = BUCKET_HEADER.pack(MAGIC, VERSION, flags, len(bucket.slots), bucket.step)
        own[:BUCKET_HEADER_BYTES] = torch.frombuffer(bytearray(header), dtype=torch.uint8)
        if not finite:
            return own  # of the agreed size; nobody reads more than its header
        start = BUCKET_HEADER_BYTES
        for group in groups:
            end = start + group.batch.wire_bytes
            self._encode_group(bucket, group, own[start:end], log, read_curves)
            start = end
        return own

    def _encode_group(
        self, bucket: Bucket, group: Group, out: Tensor, log: StepLog, read_curves: bool, *, whole: bool = False
    ) -> None:
        """What each of its layers sends in place of its gradient; the frames go to `out`."""
        began_s = time.monotonic()
        gradients = group.parts(bucket.buffer)
        if read_curves:
            log.gradient_square.update(zip(group.names, map(squared_norm, gradients), strict=True))
        reading_s = time.monotonic() - began_s

        def read(name: str, owed: Tensor) -> None:
            nonlocal reading_s
            reading_s -= time.monotonic()
            log.energy[name] = kept_energy(owed, bucket.step)
            reading_s += time.monotonic()

        self.encoding = f"bucket {bucket.index}, {group.operator}"
        seed = digest([bucket.step, self._rank])  # ranks round at random by themselves: their errors average out
        keys = [seed ^ key for key in group.keys]
        look = read if read_curves else None
        try:
            self._feedback.encode(group.names, gradients, group.batch, out, keys=keys, look=look, whole=whole)
        except CodecError as error:
            if error.layer is not None:
                self.encoding = f"layer {group.names[error.layer]}"
            raise
        log.encoded(group.operator, group.expected_s, time.monotonic() - began_s - reading_s)

    def _decode_group(self, group: Group, targets: list[Tensor], frame: Tensor, rank: int, log: StepLog) -> None:
        """Add its layers of one rank's frame to the result."""
        if not group.batch.wire_bytes:
            return
        began_s = time.monotonic()
        self.decoding = f"{group.operator} frames of rank {rank}"
        try:
            group.batch.decode(frame, targets, group.scales)
        except CodecError as error:
            if error.layer is not None:
                self.decoding = f"layer {group.names[error.layer]}, frame of rank {rank}"
            raise
        log.decoded(group.operator, time.monotonic() - began_s)


def is_finite(buffer: Tensor) -> bool:
    """Whether a flat float32 buffer holds neither NaN nor infinity; one fast pass, a slow one only in doubt."""
    values = buffer.numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.dot(values, values))) or bool(np.isfinite(values).all())


def is_finite_of_any_type(gradient: Tensor) -> bool:
    """Whether a gradient of any floating-point type, dense or sparse, holds neither NaN nor infinity."""
    values = gradient if gradient.layout == torch.strided else sparse_parts(gradient)[1]
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
