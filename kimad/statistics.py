"""What every rank tells the others after a step: numbers in one message of fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import ALL_COMPRESSORS
from kimad.monitor import Transfer, busy_s, totals
from kimad.plan import MANY

Floats = NDArray[np.float64]
OPERATORS = tuple(c.name for c in ALL_COMPRESSORS)


@final
@dataclass
class StepLog:
    """What one rank's step was like; filled while its buckets are exchanged."""

    start_s: float  # monotonic, when the step began: the end of the backward before
    nonfinite: bool = False  # this rank's gradient held a NaN or an infinity
    unused: set[str] = field(default_factory=set)  # layers that had no part in this rank's loss
    ready_s: list[float] = field(default_factory=list)  # of each bucket, from start_s
    transfers: list[Transfer] = field(default_factory=list)
    beside: tuple[float, float] = (
        0.0,
        0.0,
    )  # bytes of this process's other models that came beside frames, all-reduces
    wire_bytes: int = 0  # sent by this rank in frames and all-reduces
    timed_bytes: int = 0  # of this rank's own frames, one copy: what each receiver times
    dense_bytes: int = 0  # what plain DDP would have sent
    encode_s: float = 0.0  # residual, selection and encoding
    wire_s: float = 0.0  # from the first piece handed over to the last one received
    decode_s: float = 0.0
    expected_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(OPERATORS, 0.0))
    encoded_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(OPERATORS, 0.0))
    decoded_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(OPERATORS, 0.0))
    end_s: float = 0.0  # monotonic, when the last bucket was finished
    energy: dict[str, Floats] = field(default_factory=dict)  # curves read this step, by layer name
    gradient_square: dict[str, float] = field(default_factory=dict)  # squared norms of the gradients, with the curves

    def encoded(self, operator: str, expected_s: float, measured_s: float) -> None:
        """Add seconds of encoding with an operator, beside what was expected of all its coding."""
        self.expected_s[operator] += expected_s
        self.encoded_s[operator] += measured_s

    def decoded(self, operator: str, measured_s: float) -> None:
        """Add seconds of decoding with an operator. Encoding and decoding run in two threads."""
        self.decoded_s[operator] += measured_s


@final
@dataclass(frozen=True)
class Statistics:
    """One rank's step as the others see it."""

    nonfinite: bool
    residual_square: float  # squared norm of what this rank owes
    received: tuple[int, float]  # bytes and busy seconds of frames
    collective: tuple[int, float]  # bytes and busy seconds of all-reduces
    ready_s: Floats  # (B,)
    encode_s: float
    wire_s: float
    decode_s: float
    step_s: float  # from the start of the step to the end of its last bucket
    expected_s: Floats  # (operators,)
    measured_s: Floats  # (operators,)
    unused: NDArray[np.bool_]  # (L,)
    peers: Floats = field(default_factory=lambda: np.empty(0))  # (1 + N,) bytes of its own frames that receivers timed,
    # and busy seconds in which each peer's frames arrived; empty where they are not told
    beside: tuple[float, float] = (0.0, 0.0)  # bytes of other models that arrived in the busy seconds of both kinds

    SCALARS = 12

    @staticmethod
    def numbers(buckets: int, layers: int, ranks: int = 0) -> int:
        """Length of the message, in float64 numbers; ranks: of which seconds are told, all or none."""
        return Statistics.SCALARS + buckets + 2 * len(OPERATORS) + layers + (1 + ranks if ranks else 0)

    @staticmethod
    def of(log: StepLog, names: list[str], residual_square: float, world_size: int = 0) -> Statistics:
        """The statistics of a finished step. Peers are told apart in worlds of up to MANY ranks."""
        told = range(world_size) if world_size <= MANY else ()
        seconds = [busy_s((t.start_s, t.end_s) for t in log.transfers if t.peer == rank) for rank in told]
        return Statistics(
            peers=np.array([log.timed_bytes, *seconds], np.float64) if seconds else np.empty(0),
            nonfinite=log.nonfinite,
            residual_square=residual_square,
            received=totals(log.transfers, collective=False),
            collective=totals(log.transfers, collective=True),
            ready_s=np.array(log.ready_s),
            encode_s=log.encode_s,
            wire_s=log.wire_s,
            decode_s=log.decode_s,
            step_s=log.end_s - log.start_s,
            expected_s=np.array([log.expected_s[o] for o in OPERATORS]),
            measured_s=np.array([log.encoded_s[o] + log.decoded_s[o] for o in OPERATORS]),
            unused=np.array([name in log.unused for name in names], bool),
            beside=log.beside,
        )

    def pack(self) -> Floats:
        """The message."""
        scalars = [
            float(self.nonfinite), self.residual_square, *self.received, *self.collective,
            self.encode_s, self.wire_s, self.decode_s, self.step_s, *self.beside,
        ]  # fmt: skip
        parts = [np.array(scalars), self.ready_s, self.expected_s, self.measured_s, self.unused.astype(np.float64)]
        return np.concatenate([*parts, self.peers])


@final
@dataclass(frozen=True)
class Everyone:
    """The statistics of all N ranks of a step, by rank; rows of one table."""

    table: Floats  # (N, numbers): one message a row
    buckets: int
    layers: int

    def __post_init__(self) -> None:
        wanted = Statistics.numbers(self.buckets, self.layers)
        with_peers = Statistics.numbers(self.buckets, self.layers, len(self.table))
        if self.table.ndim != 2 or self.table.shape[1] not in (wanted, with_peers):
            raise ValueError(
                f"a table of statistics has shape {self.table.shape}; {self.buckets} buckets and {self.layers} layers "
                f"need {wanted} numbers a rank, or {with_peers} with those of each peer"
            )

    @classmethod
    def of(cls, ranks: Sequence[Statistics]) -> Everyone:
        """From the statistics of each rank."""
        return cls(np.stack([s.pack() for s in ranks]), len(ranks[0].ready_s), len(ranks[0].unused))

    @property
    def void(self) -> bool:
        """Whether some rank's gradient was not finite."""
        return bool(self.table[:, 0].any())

    @property
    def received(self) -> Floats:
        """(N, 2): bytes and busy seconds of frames."""
        return self.table[:, 2:4]

    @property
    def collective(self) -> Floats:
        """(N, 2): bytes and busy seconds of all-reduces."""
        return self.table[:, 4:6]

    @property
    def arrived(self) -> tuple[Floats, Floats]:
        """`received` and `collective` with what arrived for other models of the processes in the same seconds.

        Of a collective the rank that waited least for others tells how much that is.
        """
        received, collective, beside = self.received.copy(), self.collective.copy(), self.table[:, 10:12]
        received[:, 0] += beside[:, 0]
        if len(beside):
            collective[:, 0] += beside[int(collective[:, 1].argmin()), 1]
        return received, collective

    @property
    def share(self) -> float:
        """Of all that arrived, what was this model's; 1 where nothing arrived."""
        own, beside = float(self.table[:, [2, 4]].sum()), float(self.table[:, 10:12].sum())
        return own / (own + beside) if own > 0 and beside > 0 else 1.0

    @property
    def wire_s(self) -> Floats:
        """(N,): seconds from the first piece handed over to the last one received."""
        return self.table[:, 7]

    @property
    def ready_s(self) -> Floats:
        """(N, B): seconds from the start of the step until each bucket was ready."""
        return self._part(0, self.buckets)

    @property
    def expected_s(self) -> Floats:
        """(N, operators): seconds that coding was expected to take."""
        return self._part(self.buckets, len(OPERATORS))

    @property
    def measured_s(self) -> Floats:
        """(N, operators): seconds that coding took."""
        return self._part(self.buckets + len(OPERATORS), len(OPERATORS))

    @property
    def unused(self) -> NDArray[np.bool_]:
        """(N, L): layers that had no part in a rank's loss."""
        return self._part(self.buckets + 2 * len(OPERATORS), self.layers) > 0

    @property
    def peers(self) -> Floats | None:
        """(N, 1 + N): bytes that each rank's receivers timed, and the seconds in which it received from each other."""
        start = self.buckets + 2 * len(OPERATORS) + self.layers
        part = self._part(start, 1 + len(self.table))
        return part if part.shape[1] else None

    def _part(self, start: int, count: int) -> Floats:
        at = Statistics.SCALARS + start
        return self.table[:, at : at + count]
