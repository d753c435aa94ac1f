"""What every rank tells the others after a step: numbers in one message of fixed size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.compressors import ALL_COMPRESSORS
from kimad.monitor import Transfer, totals

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
    wire_bytes: int = 0  # sent by this rank in frames and all-reduces
    dense_bytes: int = 0  # what plain DDP would have sent
    encode_s: float = 0.0  # residual, selection and encoding
    wire_s: float = 0.0  # from the first piece handed over to the last one received
    decode_s: float = 0.0
    expected_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(OPERATORS, 0.0))
    encoded_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(OPERATORS, 0.0))
    decoded_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(OPERATORS, 0.0))
    end_s: float = 0.0  # monotonic, when the last bucket was finished
    energy: dict[str, Floats] = field(default_factory=dict)  # curves read this step, by layer name

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

    SCALARS = 10

    @staticmethod
    def numbers(buckets: int, layers: int) -> int:
        """Length of the message, in float64 numbers."""
        return Statistics.SCALARS + buckets + 2 * len(OPERATORS) + layers

    @staticmethod
    def of(log: StepLog, names: list[str], residual_square: float) -> Statistics:
        """The statistics of a finished step."""
        return Statistics(
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
        )

    def pack(self) -> Floats:
        """The message."""
        scalars = [
            float(self.nonfinite), self.residual_square, *self.received, *self.collective,
            self.encode_s, self.wire_s, self.decode_s, self.step_s,
        ]  # fmt: skip
        parts = [np.array(scalars), self.ready_s, self.expected_s, self.measured_s, self.unused.astype(np.float64)]
        return np.concatenate(parts)

    @staticmethod
    def unpack(message: Floats, buckets: int, layers: int) -> Statistics:
        """Inverse of `pack`."""
        s, rest = message[: Statistics.SCALARS], message[Statistics.SCALARS :]
        ready, expected, measured, unused = np.split(
            rest, np.cumsum([buckets, len(OPERATORS), len(OPERATORS)]).tolist()
        )
        if len(unused) != layers:
            raise ValueError(f"a statistics message has {len(message)} numbers; {layers} layers need another size")
        return Statistics(
            bool(s[0]), float(s[1]), (int(s[2]), float(s[3])), (int(s[4]), float(s[5])), ready,
            float(s[6]), float(s[7]), float(s[8]), float(s[9]), expected, measured, unused > 0,
        )  # fmt: skip
