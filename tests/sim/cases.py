"""Small workloads and links for tests of the simulator."""

from __future__ import annotations

import numpy as np

from kimad.layout import Layer
from kimad.sim import Scenario, Workload
from kimad.trace import Const, HostLink, Link


def workload(ranks: int = 2, steps: int = 6, *, spread: float = 0.05, seed: int = 0) -> Workload:
    """Twelve layers in three buckets, 2.4 MB; computing takes 0.2 s."""
    random = np.random.default_rng(seed)
    layers = tuple(
        Layer(f"block{i // 2}.{('weight', 'bias')[i % 2]}", (100_000,) if i % 2 == 0 else (64,)) for i in range(12)
    )
    buckets = ((11, 10), (9, 8, 7, 6), (5, 4, 3, 2, 1, 0))
    jitter = 1 + spread * random.standard_normal((steps, ranks, 1)).clip(-3, 3)
    ready_s = np.array([0.1, 0.15, 0.2])[None, None, :] * jitter
    gradients = tuple(
        (random.standard_t(3, (5, min(128, layer.numel))) * random.lognormal()).astype(np.float32) for layer in layers
    )
    return Workload("small", layers, buckets, ready_s, gradients)


def same_for_all(link: Link, workers: int) -> list[HostLink]:
    return [HostLink(link, link)] * workers


def scenario(mbps: float = 50.0, workers: int = 2, **settings: object) -> Scenario:
    known = {"workload": workload(), "links": same_for_all(Const(mbps), workers), "steps": 40, **settings}
    return Scenario(**known)  # type: ignore[arg-type]
