"""The simulated planner treats layers by name, and bounds what they owe, as the runtime's does: it is the same one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kimad import Config, ConfigError, StepTime
from kimad.compressors import Option
from kimad.monitor import LinkSample, LinkSamples
from kimad.observation import Observation
from kimad.plan import BFLOAT16, FLOAT32, Plan
from kimad.sim.gradients import Owed
from kimad.sim.strategy import Adaptive, Site
from kimad.statistics import Everyone, Statistics
from tests.sim.cases import workload

SAMPLES = np.random.default_rng(1).laplace(size=(5, 12, 4000)).astype(np.float32)  # so many that a few entries count
WORKLOAD = replace(workload(), gradients=tuple(
    SAMPLES[:, i, : layer.numel] * 2.0**-i for i, layer in enumerate(workload().layers)
))  # fmt: skip
BUCKETS = tuple(tuple(WORKLOAD.layers[i] for i in bucket) for bucket in WORKLOAD.buckets)
SITE = Site(BUCKETS, 2, "all-gather", 0.0, {}, 2)
TIGHT = StepTime(0.205)  # computing takes 0.2 s


def run(config: Config, steps: int, mbps: float = 1.0) -> tuple[list[Plan], list[float]]:
    """Plans, and in each step how many times its gradient's mean energy the layer owes that owes the most."""
    adaptive = Adaptive(SITE, config, WORKLOAD.layers)
    owed = Owed(WORKLOAD, np.random.default_rng(3))
    plans, energies, gradients = [], [], []
    for step in range(steps):
        owed.next_step()
        expected_s, measured_s = adaptive.expected_s()
        own = Statistics(
            False, 0.0, (0, 0.0), (0, 0.0), WORKLOAD.ready_s[0, 0], 0.0, 0.0, 0.0, 0.2, np.array(expected_s),
            np.array(measured_s), np.zeros(len(WORKLOAD.layers), bool),
        )  # fmt: skip
        energy, gradient = owed.energy(), owed.gradient_square()
        energies.append(energy[:, -1])
        gradients.append(gradient)
        plans.append(adaptive.plan)
        owed.send(adaptive.plan)
        samples = LinkSamples.of([LinkSample(float(step), mbps * 1e6, 1 << 20, 1.0)] * 2)
        reading = (2 * energy, 2 * gradient) if adaptive.reads_curves else (None, None)
        adaptive.observe(Observation(float(step), BUCKETS, Everyone.of([own] * 2), samples, *reading))
    return plans, (np.array(energies) / np.mean(gradients, axis=0)).max(axis=1).tolist()


def test_dense_layers_travel_whole_in_every_simulated_step() -> None:
    config = Config(TIGHT, dense=("*.bias", "block2.weight"), cold_start_bytes=100_000)
    plans, _ = run(config, 25)
    named = config.by_name([layer.name for layer in WORKLOAD.layers]).dense
    assert len(named) == 7
    for plan in plans:
        assert {plan.options[name] for name in named} <= {FLOAT32, BFLOAT16}
    assert any(plan.options["block1.weight"].operator in ("topk", "drop") for plan in plans)


def test_patterns_that_match_nothing_are_refused_here_too() -> None:
    with pytest.raises(ConfigError, match=r"weight pattern 'stem\.\*' matches none of the 12 parameters"):
        Adaptive(SITE, Config(weight={"stem.*": 2.0}), WORKLOAD.layers)


@pytest.mark.parametrize("factor", [8.0, 20.0])
def test_no_layer_owes_much_more_than_its_bound(factor: float) -> None:
    """On a link that carries next to nothing. The gradients are nearly independent, as the rule takes them to be."""
    unbounded, bounded = (Config(TIGHT, max_owed_factor=f, max_drop_steps=1 << 30) for f in (1e30, factor))
    _, free = run(unbounded, 150)
    plans, held = run(bounded, 150)
    assert max(free) > 300, "there was something to bound"
    assert max(held) < 3.5 * factor, "what a plan sends is known by a curve that is up to ten steps old"
    waits = dict.fromkeys(plans[0].options, 0)
    longest = 0
    for plan in plans:
        for name, option in plan.options.items():
            waits[name] = waits[name] + 1 if option.operator == "drop" else 0
        longest = max(longest, *waits.values())
    assert longest <= 3 * factor, "residuals are random walks, and some are slow"


def test_what_one_rank_reads_of_its_gradients_adds_up() -> None:
    owed = Owed(WORKLOAD, np.random.default_rng(0))
    owed.next_step()
    assert owed.gradient_square() == pytest.approx(owed.energy()[:, -1]), "nothing was owed before"
    owed.send(Plan(0, dict.fromkeys((layer.name for layer in WORKLOAD.layers), Option("drop"))))
    owed.next_step()
    assert owed.gradient_square().sum() < 0.8 * owed.energy()[:, -1].sum()
