"""A plan: one option a layer, with its fixed-size message and its digest.

Ranks with a slow uplink may have a second, smaller option for each layer.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from kimad.compressors import FrameError, Option, OptionError, compressor, compressor_by_code, wire_bytes
from kimad.errors import AgreementError
from kimad.layout import Layer, Slot, digest
from kimad.objective import Fixed

FLOAT32 = Option("float32")
BFLOAT16 = Option("bfloat16")
DROP = Option("drop")
WHOLE_OPERATORS = ("float32", "bfloat16")  # of `Config.dense`: every entry travels, at most rounded to bfloat16

HEAD = struct.Struct("<qII")  # step, number of layers, bits of the ranks that send less
ENTRY = struct.Struct("<BBIf")  # operator, value code, k, threshold
EXCHANGES = ("all-gather", "ring", "sharded")  # ways to give everybody the frames of all; the runtime has the first
MANY = 32  # ranks; with more, gathering everybody's frames is out of the question. As many have a bit in a plan
BUCKET_HEADER_BYTES = 16  # what the frames of one bucket have in front of them


@final
@dataclass(frozen=True)
class Plan:
    """One option for each layer, from `step` on. Plain layers have FLOAT32, and travel whole in their own type."""

    step: int
    options: Mapping[str, Option]  # by layer name
    own_ranks: tuple[int, ...] = ()  # ranks that send less than the others, rising
    own: Mapping[str, Option] = field(default_factory=dict)  # what they send, by layer name

    def of(self, rank: int) -> Mapping[str, Option]:
        """What one rank sends."""
        return self.own if rank in self.own_ranks else self.options

    def mode(self, slots: Sequence[Slot]) -> str:
        """How a bucket travels: "float32" and "bfloat16" by all-reduce, anything else as "frames".

        By all-reduce only if it does so for all ranks.
        """
        every = (self.options, self.own) if self.own_ranks else (self.options,)
        operators = {options[slot.layer.name].operator for options in every for slot in slots}
        return operators.pop() if operators in ({"float32"}, {"bfloat16"}) else "frames"

    def frame_bytes(self, slots: Sequence[Slot], rank: int = -1) -> int:
        """Bytes of a rank's frames for a bucket, header included (mode "frames"); -1: of one that sends no less."""
        options = self.of(rank)
        return BUCKET_HEADER_BYTES + sum(wire_bytes(s.layer.shape, options[s.layer.name]) for s in slots)

    def wire_bytes(self, slots: Sequence[Slot], world_size: int, rank: int = -1) -> int:
        """Bytes that a rank sends for a bucket: (N-1) frames, or 2(N-1)/N buffers by all-reduce."""
        mode = self.mode(slots)
        if mode == "frames":
            return (world_size - 1) * self.frame_bytes(slots, rank)
        share = 1 if mode == "float32" else 2
        return all_reduce_bytes(sum(s.layer.nbytes for s in slots) // share, world_size)

    def digest(self) -> int:
        """64-bit digest of step, options, and who sends less."""
        own = (
            [str(self.own_ranks), *(f"{name} {option}" for name, option in self.own.items())] if self.own_ranks else []
        )
        return digest([self.step, *(f"{name} {option}" for name, option in self.options.items()), *own])

    def layer_digests(self) -> list[int]:
        """One digest a layer, in order: tells which layer ranks disagree about."""
        return [
            digest([name, option, *([self.own[name]] if self.own_ranks else [])])
            for name, option in self.options.items()
        ]

    def to_message(self) -> bytes:
        """Fixed-size form: 16 bytes, and 10 a layer; where some ranks send less, 10 more a layer."""
        both = [*self.options.values(), *(self.own.values() if self.own_ranks else ())]
        parts = [HEAD.pack(self.step, len(self.options), sum(1 << rank for rank in self.own_ranks))]
        for option in both:
            op = compressor(option.operator)
            parts.append(ENTRY.pack(op.code, op.value_codes.index(option.values), option.k, option.threshold))
        return b"".join(parts)

    @staticmethod
    def message_bytes(layers: int) -> int:
        """Size of the first part of `to_message` for a number of layers; it tells whether there is a second one."""
        return HEAD.size + layers * ENTRY.size

    @staticmethod
    def bytes_to_come(message: bytes, layers: int, world_size: int) -> int:
        """Size of the second part of a message, 0 if there is none. Raises AgreementError for ranks there are not."""
        _, _, bits = HEAD.unpack(message[: HEAD.size])
        ranks = _ranks(bits)
        if ranks and (ranks[-1] >= world_size or len(ranks) == world_size):
            raise AgreementError(
                f"the plan received lets ranks {', '.join(map(str, ranks))} send less; "
                f"it must be some, and not all, of ranks 0 to {world_size - 1}"
            )
        return layers * ENTRY.size if ranks else 0

    @staticmethod
    def from_message(message: bytes, layers: Sequence[Layer], world_size: int = MANY) -> Plan:
        """Inverse of `to_message`. Raises AgreementError for a message that is not a plan of these layers and ranks."""
        step, count, bits = HEAD.unpack_from(message.ljust(HEAD.size, b"\0"))
        first = Plan.message_bytes(len(layers))
        wanted = first + (Plan.bytes_to_come(message, len(layers), world_size) if len(message) >= HEAD.size else 0)
        if count != len(layers) or len(message) != wanted:
            raise AgreementError(
                f"the plan received has {count} layers in {len(message)} bytes; this rank's model has {len(layers)}"
            )
        options = _options(message[HEAD.size : first], layers)
        return Plan(step, options, _ranks(bits), _options(message[first:], layers) if bits else {})


def _ranks(bits: int) -> tuple[int, ...]:
    return tuple(rank for rank in range(MANY) if bits >> rank & 1)


def _options(entries: bytes, layers: Sequence[Layer]) -> dict[str, Option]:
    options = {}
    for layer, (code, values, k, threshold) in zip(layers, ENTRY.iter_unpack(entries), strict=True):
        try:
            op = compressor_by_code(code)
            names = dict(enumerate(op.value_codes))
            option = Option(op.name, k, names.get(values, f"number {values}"), threshold)
            op.wire_bytes(layer.shape, option)
        except (FrameError, OptionError) as error:
            raise AgreementError(f"the plan received for layer {layer.name} is not possible: {error}") from None
        options[layer.name] = option
    return options


def all_reduce_bytes(buffer_bytes: int, world_size: int) -> int:
    """Bytes that a rank sends in a ring all-reduce of a buffer: 2(N-1)/N of it."""
    return 2 * (world_size - 1) * buffer_bytes // world_size


def fixed_plan(layers: Iterable[Layer], fixed: Fixed, step: int = 0, dense: Collection[str] = ()) -> Plan:
    """The plan of a pinned option: density d keeps ceil(d n) entries of every layer.

    Layers named in `dense` have float32 in place of an option that is not one of WHOLE_OPERATORS.
    """
    sparse = compressor(fixed.operator).sparse
    threshold = struct.unpack("<f", struct.pack("<f", fixed.threshold))[0]  # as it travels

    def option(layer: Layer) -> Option:
        k = _kept(layer, fixed.density) if sparse else fixed.count
        whole = layer.plain or (layer.name in dense and fixed.operator not in WHOLE_OPERATORS)
        return FLOAT32 if whole else Option(fixed.operator, k, fixed.values, threshold)

    return Plan(step, {layer.name: option(layer) for layer in layers})


def _kept(layer: Layer, density: float) -> int:
    return min(layer.numel, max(1, -int(-density * layer.numel // 1)))


def frame_copies(world_size: int, exchange: str = "all-gather") -> float:
    """How many times its own frames a rank sends: N-1, or 2(N-1)/N where each rank sums up its own shard.

    Raises ValueError for an exchange that is none of EXCHANGES.
    """
    if exchange not in EXCHANGES:
        raise ValueError(f"exchange is {exchange!r}; allowed: {', '.join(EXCHANGES)}")
    return 2 * (world_size - 1) / world_size if exchange == "sharded" else float(world_size - 1)


def cold_start_plan(
    layers: Sequence[Layer], budget_bytes: int, world_size: int, exchange: str = "all-gather",
    dense: Collection[str] = (),
) -> Plan:  # fmt: skip
    """The plan of the steps before there is a forecast: the densest within the budget, equal density for all layers.

    Everything in float32, bfloat16 or int8 if that fits; otherwise small layers in bfloat16 and the others by top-k.
    Layers named in `dense` have bfloat16 whatever the budget is, and the others what they leave of it.
    """
    copies = frame_copies(world_size, exchange)
    plan = Plan(0, {layer.name: FLOAT32 for layer in layers})
    if all_reduce_bytes(sum(layer.nbytes for layer in layers), world_size) <= budget_bytes:
        return plan
    plain = {layer.name: FLOAT32 for layer in layers if layer.plain}
    budget_bytes -= all_reduce_bytes(sum(layer.nbytes for layer in layers if layer.plain), world_size)
    layers = [layer for layer in layers if not layer.plain]
    whole = {layer.name: BFLOAT16 for layer in layers if layer.name in dense}

    def fits(options: Mapping[str, Option]) -> bool:
        size = sum(wire_bytes(layer.shape, options[layer.name]) + BUCKET_HEADER_BYTES for layer in layers)
        return size * copies <= budget_bytes

    for same in (BFLOAT16, Option("int8")):
        options = {layer.name: same for layer in layers} | whole
        if fits(options):
            return Plan(0, {name: plain.get(name) or options[name] for name in plan.options})
    density = 0.5
    while density > 1e-6:
        options = {
            layer.name: BFLOAT16 if layer.numel <= 256 else Option("topk", _kept(layer, density), "log4")
            for layer in layers
        } | whole
        if fits(options):
            return Plan(0, {name: plain.get(name) or options[name] for name in plan.options})
        density *= 0.8
    whole_bytes = sum(wire_bytes(la.shape, BFLOAT16) + BUCKET_HEADER_BYTES for la in layers if la.name in whole)
    few = _largest_few([la for la in layers if la.name not in whole], int(budget_bytes / copies) - whole_bytes)
    return Plan(0, {name: plain.get(name) or whole.get(name) or few.get(name, DROP) for name in plan.options})


def _largest_few(layers: Sequence[Layer], budget_bytes: int) -> dict[str, Option]:
    """So many ranks or layers that not all of them fit: some of the largest, or nothing would ever be measured."""
    frame_bytes = budget_bytes - BUCKET_HEADER_BYTES * len(layers)
    options: dict[str, Option] = {}
    for layer in sorted(layers, key=lambda layer: -layer.numel):
        for density in (1e-2, 1e-3, 1e-4):
            option = Option("topk", _kept(layer, density), "log4")
            size = wire_bytes(layer.shape, option)
            if size <= frame_bytes:
                options[layer.name] = option
                frame_bytes -= size
                break
        else:
            break
    return options
