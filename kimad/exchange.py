"""Straight-line compressed all-reduce of one bucket.

    residual += gradient;  frame = encode(residual);  residual -= decode(frame)
    send the frame to every rank, receive theirs
    gradient = sum over ranks, in rank order, of decode(frame) / N

A bucket whose plan is float32 throughout is DDP's own arithmetic on DDP's own buffer, one whose plan is bfloat16
throughout is a bfloat16 all-reduce. Frames are gathered by all ranks, which costs (N-1) frames a rank.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from kimad.compressors import Option, decode, encode, wire_bytes
from kimad.cost import start_s
from kimad.curves import kept_energy
from kimad.errors import ExchangeError
from kimad.group import Group
from kimad.layout import Slot
from kimad.monitor import Transfer
from kimad.plan import BFLOAT16, BUCKET_HEADER_BYTES, Plan, all_reduce_bytes
from kimad.residual import Residual
from kimad.statistics import StepLog

BUCKET_HEADER = struct.Struct("<2sBBIq")  # magic, version, flags, layers, step
MAGIC, VERSION, NONFINITE = b"KB", 1, 1
FIRST_PIECE_BYTES = 4 << 10  # its arrival starts the clock of a transfer: waiting for the sender is over by then
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
class Exchange:
    """Averages buckets over a process group of its own; one bucket at a time, from one thread."""

    def __init__(self, group: Group, residual: Residual, piece_bytes: int) -> None:
        self._group: Group | None = group
        self._residual = residual
        self._piece_bytes = piece_bytes
        self.rank, self.world_size = group.rank(), group.size()
        self._memory: dict[object, Tensor] = {}
        self.place = ""  # what is being worked on, for error messages

    def close(self) -> None:
        """Let go of the group; its connections close when nobody holds it."""
        self._group = None

    def average(self, bucket: Bucket, plan: Plan, log: StepLog, read_curves: bool) -> None:
        """Replace the buffer of a bucket by its average over ranks, under the agreed plan."""
        self.place = f"bucket {bucket.index}"
        if bucket.buffer.dtype != torch.float32 or bucket.buffer.layout != torch.strided:
            self.average_plainly(bucket.buffer, log)
            return
        finite = is_finite(bucket.buffer)
        log.nonfinite |= not finite
        mode = plan.mode(bucket.slots)
        if mode == "frames":
            self._average_frames(bucket, plan, log, finite, read_curves)
        elif mode == "bfloat16":
            self._average_bfloat16(bucket, log, finite, read_curves)
        else:
            for slot in bucket.slots:
                gradient = bucket.buffer[slot.start : slot.stop]
                self._residual.flush(slot.layer.name, gradient)
                if read_curves:
                    log.energy[slot.layer.name] = kept_energy(gradient, bucket.step)
            self.average_plainly(bucket.buffer, log)

    def average_plainly(self, tensor: Tensor, log: StepLog | None = None) -> None:
        """DDP's own arithmetic: divide, then all-reduce; any other order differs in the last bit for N = 3."""
        tensor.mul_(1.0 / self.world_size)
        self._all_reduce(tensor, log)

    def _average_bfloat16(self, bucket: Bucket, log: StepLog, finite: bool, read_curves: bool) -> None:
        began_s = time.monotonic()
        wire = self._bytes("bfloat16", 2 * bucket.buffer.numel()).view(torch.bfloat16)
        if finite:
            frames = self._bytes(
                ("own", bucket.index), 2 * bucket.buffer.numel() + FRAME_HEADER_BYTES * len(bucket.slots)
            )
            at = 0
            for slot in bucket.slots:
                frame = self._encode(bucket, slot, BFLOAT16, frames[at:], log, read_curves)
                payload = frame[FRAME_HEADER_BYTES:]
                wire[slot.start : slot.stop].view(torch.uint8).copy_(payload)
                at += frame.numel()
        else:
            wire.copy_(bucket.buffer)
        log.encode_s += time.monotonic() - began_s
        self._all_reduce(wire, log)
        began_s = time.monotonic()
        bucket.buffer.copy_(wire).mul_(1.0 / self.world_size)
        log.decode_s += time.monotonic() - began_s

    def _average_frames(self, bucket: Bucket, plan: Plan, log: StepLog, finite: bool, read_curves: bool) -> None:
        began_s = time.monotonic()
        own = self._bytes(("own", bucket.index), plan.frame_bytes(bucket.slots))
        flags = 0 if finite else NONFINITE
        header = BUCKET_HEADER.pack(MAGIC, VERSION, flags, len(bucket.slots), bucket.step)
        own[:BUCKET_HEADER_BYTES] = torch.frombuffer(bytearray(header), dtype=torch.uint8)
        at = BUCKET_HEADER_BYTES
        if finite:
            for slot in bucket.slots:
                option = plan.options[slot.layer.name]
                at += self._encode(bucket, slot, option, own[at:], log, read_curves).numel()
            if at != own.numel():
                raise ExchangeError(f"encoded {at} bytes where the plan has {own.numel()}")
        log.encode_s += time.monotonic() - began_s

        frames = self._all_gather(own, [own.numel()] * self.world_size, log)

        began_s = time.monotonic()
        if any(read_flags(frame, rank, bucket) & NONFINITE for rank, frame in enumerate(frames)):
            bucket.buffer.fill_(float("nan"))  # as a plain all-reduce would, for GradScaler to see
        else:
            bucket.buffer.zero_()
            at = BUCKET_HEADER_BYTES
            for slot in bucket.slots:
                at = self._decode(bucket, slot, plan.options[slot.layer.name], frames, at, log)
        log.decode_s += time.monotonic() - began_s

    def _encode(
        self, bucket: Bucket, slot: Slot, option: Option, out: Tensor, log: StepLog, read_curves: bool
    ) -> Tensor:
        """One layer: residual += gradient, encode, residual -= decoded. Returns the frame, which lies in `out`."""
        began_s = time.monotonic()
        name, shape = slot.layer.name, slot.layer.shape
        self.place = f"layer {name}"
        owed = self._residual.add(name, bucket.buffer[slot.start : slot.stop])
        reading_s = 0.0
        if read_curves:
            reading_s = -time.monotonic()
            log.energy[name] = kept_energy(owed, bucket.step)
            reading_s += time.monotonic()
        used = encode(owed, option, out, shape=shape, key=bucket.step)
        frame = out[:used]
        if used:
            self._residual.sent(name, frame)
        expected_s = start_s(option, slot.layer.numel)
        log.coded(option.operator, expected_s, time.monotonic() - began_s - reading_s)
        return frame

    def _decode(
        self, bucket: Bucket, slot: Slot, option: Option, frames: Sequence[Tensor], at: int, log: StepLog
    ) -> int:
        """One layer of the result, summed in rank order so that all ranks round alike. Returns the frames' end."""
        end = at + wire_bytes(slot.layer.shape, option)
        if end > at:
            began_s = time.monotonic()
            target = bucket.buffer[slot.start : slot.stop]
            for rank, frame in enumerate(frames):
                self.place = f"layer {slot.layer.name}, frame of rank {rank}"
                decode(frame[at:end], target, scale=1.0 / self.world_size)
            log.coded(option.operator, 0.0, time.monotonic() - began_s)
        return end

    def _all_gather(self, own: Tensor, sizes: Sequence[int], log: StepLog) -> list[Tensor]:
        """Every rank's bytes, by rank; `sizes` has one length a rank.

        Pieces go all at once and are awaited in order. gloo sends a piece only when its receiver is ready for it, so
        the time from the first piece's arrival to the last one's is the wire's alone, however late the peer was.
        """
        group = self._open_group()
        began_s = time.monotonic()
        frames = [own if r == self.rank else self._bytes(("peer", r), sizes[r]) for r in range(self.world_size)]
        peers = [r for r in range(self.world_size) if r != self.rank]
        incoming = [
            (start, stop, group.recv([frames[r][start:stop]], r, 0))
            for r in peers
            for start, stop in pieces(sizes[r], self._piece_bytes)
        ]
        outgoing = [
            group.send([own[start:stop]], r, 0)
            for r in peers
            for start, stop in pieces(own.numel(), self._piece_bytes)
        ]
        first_s, counted = 0.0, 0
        for start, stop, work in sorted(incoming, key=lambda piece: piece[0]):
            work.wait()
            if start == 0:
                first_s = time.monotonic()
            else:
                counted += stop - start
        end_s = time.monotonic()
        for work in outgoing:
            work.wait()
        if counted:
            log.transfers.append(Transfer(counted, first_s, end_s))
        log.wire_bytes += own.numel() * len(peers)
        log.wire_s += time.monotonic() - began_s
        return frames

    def _all_reduce(self, tensor: Tensor, log: StepLog | None) -> None:
        began_s = time.monotonic()
        self._open_group().allreduce([tensor]).wait()
        if log is not None:
            end_s = time.monotonic()
            moved = all_reduce_bytes(tensor.numel() * tensor.element_size(), self.world_size)
            log.transfers.append(Transfer(moved, began_s, end_s, collective=True))
            log.wire_bytes += moved
            log.wire_s += end_s - began_s

    def _open_group(self) -> Group:
        if self._group is None:
            raise ExchangeError("the process group of this model is closed")
        return self._group

    def _bytes(self, key: object, size: int) -> Tensor:
        """`size` bytes of memory that lives as long as the exchange; grows, and is then used again and again."""
        held = self._memory.get(key)
        if held is None or held.numel() < size:
            held = self._memory[key] = torch.empty(size + size // 8, dtype=torch.uint8)
        return held[:size]


def pieces(size: int, piece_bytes: int) -> Iterator[tuple[int, int]]:
    """Start and stop of the messages that carry `size` bytes: a small first one, then equal ones."""
    start = 0
    while start < size:
        stop = min(size, start + (piece_bytes if start else min(FIRST_PIECE_BYTES, piece_bytes)))
        yield start, stop
        start = stop


def is_finite(buffer: Tensor) -> bool:
    """Whether a flat float32 buffer holds neither NaN nor infinity; one fast pass, a slow one only in doubt."""
    values = buffer.numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.dot(values, values))) or bool(np.isfinite(values).all())


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
