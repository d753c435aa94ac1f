"""All ranks take the same plan, or stop. Every message here has a fixed size, so none can meet a wrong one.

Once frame sizes differ between ranks, gloo aborts the process or scrambles data, and no check inside a frame
comes in time: the digest is confirmed before the first frame of a plan is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kimad.errors import AgreementError
from kimad.group import Group
from kimad.layout import Layer, digest, layers_digest
from kimad.plan import Plan
from kimad.statistics import Everyone, Statistics

Floats = NDArray[np.float64]


@final
class Agreement:
    """The fixed-size conversations of one process group. `bytes` counts what this rank sent."""

    def __init__(self, group: Group) -> None:
        self._open: Group | None = group
        self.rank, self.world_size = group.rank(), group.size()
        self.bytes = 0

    def close(self) -> None:
        """Let go of the group."""
        self._open = None

    @property
    def _group(self) -> Group:
        if self._open is None:
            raise AgreementError("the process group of this model is closed")
        return self._open

    def _gather(self, mine: Tensor) -> list[Tensor]:
        theirs = [torch.empty_like(mine) for _ in range(self.world_size)]
        self._group.allgather([theirs], [mine]).wait()
        self.bytes += (self.world_size - 1) * mine.numel() * mine.element_size()
        return theirs

    def check_layers(self, layers: Sequence[Layer]) -> None:
        """Raise AgreementError unless all ranks have the same layers, by name, shape and order."""
        digests = [int(t) for t in self._gather(torch.tensor([layers_digest(layers)]))]
        if len(set(digests)) > 1:
            other = next(r for r, d in enumerate(digests) if d != digests[self.rank])
            raise AgreementError(
                f"rank {self.rank} has {len(layers)} layers with digest {digests[self.rank]:x}, rank {other} has "
                f"others ({digests[other]:x}): every rank must wrap the same model"
            )

    def check_settings(self, settings: Mapping[str, object]) -> None:
        """Raise AgreementError unless all ranks have the same values of the same settings."""
        by_rank = self._gather(torch.tensor([digest([repr(value)]) for value in settings.values()]))
        for rank, theirs in enumerate(by_rank):
            for name, value, own, first in zip(settings, settings.values(), theirs, by_rank[0], strict=True):
                if own != first:
                    raise AgreementError(
                        f"{name} differs between rank {rank} and rank 0 (here, on rank {self.rank}, it is {value}); "
                        "every rank must be given the same configuration"
                    )

    def statistics(self, mine: Statistics) -> Everyone:
        """Everyone's statistics, by rank."""
        buckets, layers = len(mine.ready_s), len(mine.unused)
        gathered = self._gather(torch.from_numpy(mine.pack()))
        return Everyone(torch.stack(gathered).numpy(), buckets, layers)

    def sum(self, table: Floats) -> Floats:
        """Sum over ranks of a table of one shape."""
        tensor = torch.from_numpy(table.astype(np.float32))
        self._group.allreduce([tensor]).wait()
        self.bytes += 2 * (self.world_size - 1) * tensor.numel() * 4 // self.world_size
        return tensor.numpy().astype(np.float64)

    def share(self, plan: Plan | None, layers: Sequence[Layer]) -> Plan:
        """Rank 0's plan, on every rank: in one message, which tells whether there is one more of the same options."""
        if self.rank == 0 and plan is None:
            raise ValueError("rank 0 has no plan to share")
        whole = plan.to_message() if self.rank == 0 and plan is not None else b""
        size = Plan.message_bytes(len(layers))
        message = self._broadcast(whole[:size], size)
        more = Plan.bytes_to_come(message, len(layers), self.world_size)
        if more:
            message += self._broadcast(whole[size:], more)
        return Plan.from_message(message, layers, self.world_size)

    def _broadcast(self, mine: bytes, size: int) -> bytes:
        """Rank 0's `size` bytes, on every rank."""
        if self.rank == 0:
            message = torch.frombuffer(bytearray(mine), dtype=torch.uint8)
            self.bytes += size * (self.world_size - 1)
        else:
            message = torch.empty(size, dtype=torch.uint8)
        self._group.broadcast([message]).wait()
        return message.numpy().tobytes()

    def confirm(self, plan: Plan, layers: Sequence[Layer]) -> None:
        """Raise AgreementError, with rank, layer and both digests, unless all ranks hold this plan."""
        digests = [int(t) for t in self._gather(torch.tensor([plan.digest()]))]
        if len(set(digests)) == 1:
            return
        by_layer = self._gather(torch.tensor(plan.layer_digests()))
        for rank, other in enumerate(by_layer):
            differs = torch.nonzero(other != by_layer[0])
            if len(differs):
                layer = int(differs[0])
                raise AgreementError(
                    f"rank {rank} and rank 0 hold different plans for step {plan.step}: layer {layers[layer].name} "
                    f"has digest {int(other[layer]) & (2**64 - 1):016x} on rank {rank} and "
                    f"{int(by_layer[0][layer]) & (2**64 - 1):016x} on rank 0; nothing was sent under either plan"
                )
        texts = [f"{d:x}" for d in digests]
        raise AgreementError(f"ranks hold plans for different steps, or name other ranks that send less: {texts}")
