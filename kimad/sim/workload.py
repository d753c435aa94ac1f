"""A model's training step, as the simulator needs it: layers, buckets, times, and samples of real gradients."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.errors import KimadError
from kimad.files import replacing
from kimad.layout import Layer

Floats = NDArray[np.float64]
Samples = NDArray[np.float32]

MAGIC = "kimad-workload v1"
MAX_FILE_BYTES = 1 << 30  # a larger file is refused
MAX_LAYERS = 100_000
MAX_NUMEL = 2**32 - 1  # entries of a layer; frames count them in 32 bits
MAX_ITEM_BYTES = 16  # of an entry
MAX_CODING = 1e6  # times that coding takes as long as expected
OVERHEADS = ("fixed", "adaptive", "reading")  # a step's end without and with a decision, and reading the error curves
MAX_OVERHEAD_S = 1e3
_DAMAGE = (  # what unpacking a damaged file raises
    zipfile.BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError, AttributeError, RuntimeError,
    OverflowError, MemoryError,
)  # fmt: skip


class WorkloadError(KimadError, ValueError):
    """A workload that cannot be used: one line with what was given and what is allowed."""


@final
@dataclass(frozen=True)
class Workload:
    """One model, as trained by some number of ranks. L layers, B buckets, S steps, R ranks.

    Raises WorkloadError where the parts do not fit together.
    """

    name: str
    layers: tuple[Layer, ...]  # in the model's order
    buckets: tuple[tuple[int, ...], ...]  # layer numbers, in the order in which the buckets become ready
    ready_s: Floats  # (S, R, B) s from the start of a step (the end of the backward before) until a bucket was ready
    gradients: tuple[Samples, ...]  # L times (snapshots, samples): the same entries of the gradient, step after step
    coding: Mapping[str, float] = field(default_factory=dict)  # operator -> measured / expected seconds of coding
    overhead_s: Mapping[str, float] = field(default_factory=dict)  # of OVERHEADS -> s a step, beside coding
    note: str = ""  # where it was measured

    def __post_init__(self) -> None:
        if not self.layers or not self.buckets:
            raise WorkloadError(f"workload {self.name!r} has no layers or no buckets; it needs both")
        if len({layer.name for layer in self.layers}) < len(self.layers):
            raise WorkloadError(f"workload {self.name!r}: two layers have one name; each needs its own")
        for layer in self.layers:
            if not (
                0 < layer.itemsize <= MAX_ITEM_BYTES
                and 0 < layer.numel <= MAX_NUMEL
                and min(layer.shape, default=1) > 0
            ):
                raise WorkloadError(
                    f"workload {self.name!r}, layer {layer.name}: {layer.shape} entries of {layer.itemsize} bytes; "
                    f"allowed: 1 to {MAX_NUMEL} entries of 1 to {MAX_ITEM_BYTES} bytes"
                )
        if not all(0 < factor < MAX_CODING for factor in self.coding.values()):
            raise WorkloadError(
                f"workload {self.name!r}: coding is {dict(self.coding)}; each must be above 0 and below {MAX_CODING:g}"
            )
        if not all(name in OVERHEADS and 0 <= s <= MAX_OVERHEAD_S for name, s in self.overhead_s.items()):
            raise WorkloadError(
                f"workload {self.name!r}: overhead_s is {dict(self.overhead_s)}; allowed: 0 to {MAX_OVERHEAD_S:g} s of "
                f"{', '.join(OVERHEADS)}"
            )
        carried = sorted(i for bucket in self.buckets for i in bucket)
        if carried != list(range(len(self.layers))):
            raise WorkloadError(f"workload {self.name!r}: buckets must hold each of {len(self.layers)} layers once")
        shape = self.ready_s.shape
        if len(shape) != 3 or 0 in shape or shape[2] != len(self.buckets):
            raise WorkloadError(
                f"workload {self.name!r}: ready_s has shape {shape}; it must be (steps, ranks, {len(self.buckets)})"
            )
        if not (np.isfinite(self.ready_s).all() and (self.ready_s >= 0).all()):
            raise WorkloadError(f"workload {self.name!r}: ready_s must hold finite numbers of 0 or more")
        if len(self.gradients) != len(self.layers):
            raise WorkloadError(f"workload {self.name!r}: {len(self.gradients)} gradients, {len(self.layers)} layers")
        snapshots = self.gradients[0].shape[0]
        for layer, samples in zip(self.layers, self.gradients, strict=True):
            if samples.ndim != 2 or samples.shape[0] != snapshots or not 1 <= samples.shape[1] <= layer.numel:
                raise WorkloadError(
                    f"workload {self.name!r}, layer {layer.name}: samples of shape {samples.shape}; they must be "
                    f"({snapshots}, 1..{layer.numel})"
                )
            if not np.isfinite(samples).all():
                raise WorkloadError(f"workload {self.name!r}, layer {layer.name}: samples must be finite")

    def with_compute(self, compute_s: float) -> Workload:
        """The same with all computing times scaled to this mean, in seconds."""
        return replace(self, ready_s=self.ready_s * (compute_s / float(self.ready_s[:, :, -1].mean())))

    def save(self, path: Path) -> None:
        """Write the workload to a file, at once."""
        header = {
            "format": MAGIC,
            "name": self.name,
            "note": self.note,
            "layers": [[la.name, list(la.shape), la.dtype, la.itemsize] for la in self.layers],
            "buckets": [list(b) for b in self.buckets],
            "coding": dict(self.coding),
            "overhead_s": dict(self.overhead_s),
        }
        arrays = {f"gradient{i}": samples for i, samples in enumerate(self.gradients)}
        packed = io.BytesIO()
        text = np.frombuffer(json.dumps(header).encode(), np.uint8)
        np.savez_compressed(packed, header=text, ready_s=self.ready_s, **arrays)  # type: ignore[arg-type]
        with replacing(path) as part:
            part.write_bytes(packed.getvalue())

    @classmethod
    def load(cls, path: Path) -> Workload:
        """Read a file that `save` wrote. Raises WorkloadError, naming the file, for anything else."""
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise WorkloadError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB")
            with zipfile.ZipFile(path) as archive:
                if sum(item.file_size for item in archive.infolist()) > MAX_FILE_BYTES:
                    raise WorkloadError(f"{path}: unpacks to more than {MAX_FILE_BYTES >> 20} MiB")
            with np.load(path, allow_pickle=False) as parts:
                header = json.loads(parts["header"].tobytes())
                if header["format"] != MAGIC or len(header["layers"]) > MAX_LAYERS:
                    raise WorkloadError(f"{path}: no {MAGIC} file of at most {MAX_LAYERS} layers")
                return cls(
                    name=str(header["name"]),
                    layers=tuple(Layer(str(n), tuple(map(int, s)), str(d), int(i)) for n, s, d, i in header["layers"]),
                    buckets=tuple(tuple(map(int, b)) for b in header["buckets"]),
                    ready_s=np.asarray(parts["ready_s"], np.float64),
                    gradients=tuple(
                        np.asarray(parts[f"gradient{i}"], np.float32) for i in range(len(header["layers"]))
                    ),
                    coding={str(k): float(v) for k, v in header["coding"].items()},
                    overhead_s={str(k): float(v) for k, v in header.get("overhead_s", {}).items()},
                    note=str(header["note"]),
                )
        except WorkloadError:
            raise
        except OSError as error:
            raise WorkloadError(f"{path}: {error.strerror or error}") from error
        except _DAMAGE as error:
            raise WorkloadError(
                f"{path}: not a workload file ({type(error).__name__}); `kimad bench profile` writes them"
            ) from error
