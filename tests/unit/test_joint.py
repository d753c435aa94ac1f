"""Models trained by turns that plan for the sum of their progress."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from kimad import Config, ErrorBound, Progress, StepTime
from kimad.decide import Planner, first_plan
from kimad.joint import STEPS, JointProgress, Turns
from kimad.layout import pack
from kimad.monitor import LinkSample, LinkSamples
from kimad.objective import Objective, Points
from kimad.observation import Observation
from kimad.shared_link import SharedLink
from kimad.statistics import Everyone
from tests.unit.cases import Model, heavy_model
from tests.unit.test_decide import statistics

Floats = NDArray[np.float64]
G, D = 1, 2  # a generator, and a discriminator whose step is short
SECONDS = np.linspace(0.0, 3.0, 301)  # on the wire


def points(compute_s: float, slope: float) -> Points:
    """All that a model may do: more seconds on the wire, less error."""
    return Points(compute_s + SECONDS, SECONDS, np.exp(-slope * SECONDS), compute_s)


MODELS = {G: points(2.0, 2.0), D: points(0.1, 5.0)}


def joint_progress(picked: dict[int, int], times: dict[int, int]) -> float:
    """A second, with the default's square root."""
    phi = sum(times[m] * math.sqrt(1 - MODELS[m].error[i]) for m, i in picked.items())
    return phi / sum(times[m] * float(MODELS[m].step_s[i]) for m, i in picked.items())


@pytest.mark.parametrize("times", [{G: 1, D: 1}, {G: 3, D: 1}, {G: 1, D: 5}], ids=str)
def test_turns_find_the_joint_optimum(times: dict[int, int]) -> None:
    turns, own = Turns(), Progress()
    alone = {m: own.pick(p) for m, p in MODELS.items()}
    picked = dict(alone)
    for _ in range(40):
        for m, count in times.items():
            for _ in range(count):
                picked[m] = turns.objective(m, own).pick(MODELS[m])
                turns.tell(m, own, float(MODELS[m].error[picked[m]]), float(MODELS[m].step_s[picked[m]]))
    best = max(joint_progress({G: i, D: j}, times) for i in range(len(SECONDS)) for j in range(0, len(SECONDS), 2))
    found = joint_progress(picked, times)
    assert found == pytest.approx(best, rel=2e-3)
    assert found > 1.02 * joint_progress(alone, times), "each for itself is worse"
    assert MODELS[D].step_s[picked[D]] > MODELS[D].step_s[alone[D]], "a short step may take more"
    assert MODELS[G].step_s[picked[G]] < MODELS[G].step_s[alone[G]], "and a long one less"


def test_alone_it_is_the_model_s_own_objective() -> None:
    turns, own = Turns(), Progress(0.3)
    for _ in range(5):
        assert turns.objective(G, own) is own
        turns.tell(G, own, 0.5, 1.0)


@pytest.mark.parametrize("own", [StepTime(1.0), ErrorBound(0.1)], ids=str)
def test_other_objectives_are_followed_as_they_are(own: Objective) -> None:
    turns = Turns()
    turns.tell(G, Progress(), 0.5, 1.0)
    assert turns.objective(D, own) is own
    turns.tell(D, own, 0.5, 1.0)
    progress = Progress()
    assert turns.objective(G, progress) is progress, "its progress is not known in the same unit"


def test_a_model_that_is_trained_no_more_is_forgotten() -> None:
    turns, own = Turns(), Progress()
    turns.tell(G, own, 0.5, 1.0)
    for _ in range(STEPS):
        assert isinstance(turns.objective(D, own), JointProgress)
        turns.tell(D, own, 0.5, 1.0)
    assert turns.objective(D, own) is own


def test_scores_are_those_of_progress_where_the_others_are_nothing() -> None:
    own = Progress()
    joint = JointProgress(own, 0.0, 0.0)
    assert joint.scores(MODELS[G]) == pytest.approx(own.scores(MODELS[G]))
    assert joint.pick(MODELS[G]) == own.pick(MODELS[G])
    assert (str(joint), joint.unit, joint.target_s(1.0)) == (str(own), own.unit, None)


def sent_by(models: list[Model], ready_s: list[float]) -> list[int]:
    """Bytes of each model's plan after some turns on one link of 20 Mbit/s."""
    link, config = SharedLink(Config(), 2), Config()
    planners = [Planner(config, model.layers, 2, link=link) for model in models]
    plans = [first_plan(config, model.layers, 2) for model in models]
    for turn in range(1, 9):
        link.update(LinkSamples.of([LinkSample(turn, 20e6, 1 << 20, 0.4)] * 2))
        for i, (planner, model) in enumerate(zip(planners, models, strict=True)):
            one = statistics(model)
            one = replace(one, ready_s=one.ready_s * ready_s[i] / one.ready_s[-1])
            energy = np.stack([curve.energy for curve in model.curves])
            planner.observe(Observation.of(turn, turn, model.buckets, Everyone.of([one, one]), energy, energy[:, -1]))
            plans[i] = planner.decide(plans[i], turn).plan
    return [sum(plan.wire_bytes(pack(b), 2) for b in model.buckets) for plan, model in zip(plans, models, strict=True)]


def test_planners_of_one_link_plan_together() -> None:
    long, short = heavy_model(24, seed=5), heavy_model(24, seed=6)
    alone = sent_by([long], [2.0]) + sent_by([short], [0.05])
    together = sent_by([long, short], [2.0, 0.05])
    assert together[0] < 0.95 * alone[0]
    assert together[1] > 1.1 * alone[1]
