"""The tc commands that give a device a rate and a queue. Text only; `tc` reads them in a batch.

htb and never tbf: a change of tbf fills its bucket anew, so that a trace which is replayed hands out bytes for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

FRAME_BYTES = 1514  # Ethernet, MTU 1500
FLOOR_KBIT = 8  # kbit/s; htb takes no rate of 0, so an outage still carries this much
_BURST_S = 0.004
_MIN_BURST_BYTES = 16 * 1024  # a smaller one costs throughput
_MIN_QUEUE_BYTES = 4 * FRAME_BYTES


@final
@dataclass(frozen=True)
class Path:
    """What a link does beside its rate."""

    queue_s: float = 0.05  # s of its rate that wait at most before frames are dropped
    latency_s: float = 0.0  # s one way; needs netem
    loss: float = 0.0  # share of the frames, 0 to 1; needs netem

    @property
    def needs_netem(self) -> bool:
        """Whether the kernel must have netem."""
        return self.latency_s > 0 or self.loss > 0


def kbit(mbps: float) -> int:
    """The rate that is set for a rate that was asked for, kbit/s."""
    return max(FLOOR_KBIT, int(mbps * 1000))


def burst_bytes(mbps: float) -> int:
    """What may go at once: 4 ms of the rate, 16 KiB at least."""
    return max(_MIN_BURST_BYTES, int(kbit(mbps) * 125 * _BURST_S))


def queue_bytes(mbps: float, queue_s: float) -> int:
    """What may wait."""
    return max(_MIN_QUEUE_BYTES, int(kbit(mbps) * 125 * queue_s)) + burst_bytes(mbps)


def commands(device: str, mbps: float, path: Path, *, first: bool, delay: bool) -> list[str]:
    """Set the rate of what leaves a device: all of it if `first`, else change what is there.

    The queue changes with the rate and so stays the same in seconds. `delay`: this side adds latency and loss.
    """
    verb = "add" if first else "change"
    delay = delay and path.needs_netem
    rate, burst = kbit(mbps), burst_bytes(mbps)
    # quantum: of no use with one class, but without it tc warns of every rate above 16 Mbit/s
    htb = f"rate {rate}kbit ceil {rate}kbit burst {burst} cburst {burst} quantum {FRAME_BYTES}"
    lines = [
        f"class {verb} dev {device} parent 1: classid 1:1 htb {htb}",
        f"qdisc {verb} dev {device} parent 1:1 handle 10: bfifo limit {queue_bytes(mbps, path.queue_s)}",
    ]
    if first:
        parent = "parent 2:1" if delay else "root"
        lines.insert(0, f"qdisc add dev {device} {parent} handle 1: htb default 1")
        if delay:
            lines.insert(0, netem(device, path))
    return lines


def netem(device: str, path: Path) -> str:
    """Latency and loss, in front of the rate."""
    loss = f" loss {100 * path.loss:.6g}%" if path.loss > 0 else ""
    return f"qdisc add dev {device} root handle 2: netem limit 100000 delay {path.latency_s * 1e3:.6g}ms{loss}"
