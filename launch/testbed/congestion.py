"""TCP's congestion control on the emulated hosts.

The default is reno, which fills a link whatever its rate. bbr, the default of some systems, estimates the rate and errs
where both directions are full, as they are in training: gloo's all-reduce then has 92 % of a link of 30 Mbit/s and 96 %
of one of 100, where reno has 100 % of either.
"""

from __future__ import annotations

from pathlib import Path

from kimad.launch.testbed.enter import inside
from kimad.launch.testbed.names import TestbedError

DEFAULT = "reno"
_IN_FORCE = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_ALLOWED = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")


def allowed() -> list[str]:
    """What a namespace may choose; nothing where the system does not say."""
    return _ALLOWED.read_text(encoding="ascii").split() if _ALLOWED.is_file() else []


def choose(name: str, algorithm: str) -> None:
    """Have a host of ours use an algorithm for all new connections.

    Raises:
        TestbedError: the kernel does not allow it.
    """
    try:
        inside(name, lambda: _IN_FORCE.write_text(algorithm, encoding="ascii"))
    except OSError as error:
        known = ", ".join(allowed()) or "unknown"
        raise TestbedError(
            f"congestion control {algorithm!r} cannot be had: {error.strerror}; allowed here: {known}"
        ) from error
