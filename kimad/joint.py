"""Progress of several models that are trained by turns: each plans for the sum, not for itself alone.

A generator's step and its discriminator's share one stretch of time, so a second is worth the same in both. With φ_m^κ
and t_m of model m in its latest plan, and n_m of its steps for one of the model that plans:

    largest (φ^κ + Σ n_m φ_m^κ) / (t + Σ n_m t_m)            the sums over all other models

which is the joint progress a second, made larger one model after the other. Each for itself would send too much where
its own step is long beside the others', and too little where it is short.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kimad.objective import Objective, Points, Progress

Floats = NDArray[np.float64]

STEPS = 64  # of all models, that say how often each is trained


@final
@dataclass(frozen=True)
class JointProgress(Objective):
    """Progress beside that of other models."""

    own: Progress
    progress: float  # of the others, for one step of this model: sum of φ^κ
    seconds: float  # that it takes

    def pick(self, points: Points) -> int:
        return int(np.argmax(self.scores(points)))

    def scores(self, points: Points) -> Floats:
        phi = np.maximum(1.0 - points.error, 1e-9)
        seconds = np.maximum(points.step_s + self.seconds, 1e-9)
        scores: Floats = np.log(phi**self.own.kappa + self.progress) - np.log(seconds)
        return scores

    def target_s(self, compute_s: float) -> float | None:
        return None

    @property
    def unit(self) -> str:
        return self.own.unit

    def __str__(self) -> str:
        return str(self.own)


@final
class Turns:
    """What the models of one link told of their latest plans. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[int, tuple[float, float]] = {}  # progress and seconds of a step, by model
        self._latest: deque[int] = deque(maxlen=STEPS)  # models, in the order of their steps

    def tell(self, model: int, objective: Objective, error: float, step_s: float) -> None:
        """A model has a plan for its next step, with that relative squared error and of so many seconds."""
        with self._lock:
            self._latest.append(model)
            if isinstance(objective, Progress):
                self._told[model] = max(1.0 - error, 0.0) ** objective.kappa, step_s

    def objective(self, model: int, own: Objective) -> Objective:
        """What a model shall follow; its own objective where no other is trained by turns with it."""
        if not isinstance(own, Progress):
            return own
        with self._lock:
            steps = Counter(self._latest)
            others = [
                (steps[m] / max(1, steps[model]), *told) for m, told in self._told.items() if m != model and steps[m]
            ]
        if not others:
            return own
        return JointProgress(own, sum(n * p for n, p, _ in others), sum(n * s for n, _, s in others))
