"""Models of one process that share what is known of a link."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kimad import Config, StepTime
from kimad.decide import Planner, first_plan
from kimad.layout import pack
from kimad.monitor import LinkSample, LinkSamples
from kimad.observation import Observation
from kimad.shared_link import Floats, SharedLink, changes, join, leave
from kimad.statistics import OPERATORS, Everyone, Statistics
from tests.unit.cases import heavy_model

MB = 1 << 20
MODEL = heavy_model(24, seed=5)
READY_S = 0.2 * np.arange(1, len(MODEL.buckets) + 1) / len(MODEL.buckets)
ENERGY = np.stack([curve.energy for curve in MODEL.curves])


def samples(time_s: float, *bps: float) -> LinkSamples:
    return LinkSamples.of([LinkSample(time_s, rate, MB, 8 * MB / rate) for rate in bps])


def everyone(
    received: float, seconds: float, beside: float = 0.0, collective: tuple[float, float] = (0, 0)
) -> Everyone:
    one = Statistics(
        False, 0.0, (int(received), seconds), (int(collective[0]), collective[1]), READY_S, 0.0, 0.0, 0.0, 1.0,
        np.zeros(len(OPERATORS)), np.zeros(len(OPERATORS)), np.zeros(len(MODEL.layers), bool),
        beside=(beside, 0.0) if received else (0.0, beside),
    )  # fmt: skip
    return Everyone.of([one, one])


@pytest.fixture
def link() -> SharedLink:
    return SharedLink(Config(), 2)


def test_models_with_the_same_ranks_and_forecasts_share_one() -> None:
    before = changes()
    first, again = join((0, 1), Config()), join((0, 1), Config(StepTime(1.0)))
    others = [join((0, 2), Config()), join((0, 1), Config(forecast="last")), join((0, 1), Config(half_life_s=9.0))]
    assert first is again
    assert first.models == 2
    assert len({id(one) for one in (first, *others)}) == 4
    assert changes() == before + 5
    for one in (first, again, *others):
        leave(one)
    assert first.models == 0
    assert changes() == before + 10
    fresh = join((0, 1), Config())
    assert fresh is not first, "what the last model leaves is forgotten"
    leave(fresh)


def test_who_never_measured_knows_what_another_measured(link: SharedLink) -> None:
    measures, silent = (Planner(Config(), MODEL.layers, 2, link=link) for _ in range(2))
    assert silent.forecast(1.0) is None
    measures.observe_links(samples(1.0, 20e6, 50e6))
    found = silent.forecast(2.0)
    assert found is not None
    assert found.mean_bps == pytest.approx(20e6)
    assert found.age_s == 1.0
    alone = Planner(Config(), MODEL.layers, 2)
    assert alone.forecast(2.0) is None


def test_a_sample_that_comes_late_is_no_false_one(link: SharedLink) -> None:
    link.update(samples(5.0, 20e6, 20e6))
    link.update(samples(4.5, 10e6, 10e6))  # the other model's step ended before, and was told after
    found = link.forecast(5.0)
    assert link.ignored == 0
    assert found is not None
    assert found.mean_bps < 19e6


@pytest.mark.parametrize("kind", ["frames", "all-reduces"])
def test_what_came_beside_belongs_to_the_sample_and_makes_the_share(kind: str) -> None:
    alone = everyone(MB, 1.0) if kind == "frames" else everyone(0, 0.0, collective=(MB, 1.0))
    seen = everyone(MB, 1.0, 3 * MB) if kind == "frames" else everyone(0, 0.0, 3 * MB, collective=(MB, 1.0))
    assert alone.share == 1.0
    assert seen.share == 0.25
    rates = [Observation.of(1, 9.0, MODEL.buckets, e, None).samples for e in (alone, seen)]
    assert [found.bps.tolist() for found in rates if found] == [[8 * MB] * 2, [32 * MB] * 2]


def test_beside_an_all_reduce_the_rank_that_waited_least_counts() -> None:
    table = everyone(0, 0.0, MB, collective=(MB, 1.0)).table
    table[1, 5], table[1, 11] = 4.0, 4 * MB  # it waited 3 s for rank 0, and the other model's bytes went on
    samples_ = Observation.of(1, 9.0, MODEL.buckets, Everyone(table, len(READY_S), len(MODEL.layers)), None).samples
    assert samples_ is not None
    assert samples_.bps.tolist() == [16 * MB] * 2


def plan_bytes(share: float, bps: float) -> int:
    """Of a plan for a step of half a second, where this model has a share of the link."""
    config = Config(StepTime(0.5))
    link = SharedLink(config, 2)
    planner = Planner(config, MODEL.layers, 2, link=link)
    plan = first_plan(config, MODEL.layers, 2)
    for step in range(1, 12):
        size = 0.1 * bps / 8
        told = everyone(share * size, 0.1, (1 - share) * size)
        seen = Observation.of(step, float(step), MODEL.buckets, told, ENERGY, ENERGY[:, -1] / 4)
        planner.observe(seen)
        forecast = planner.forecast(float(step))
        plan = planner.decide(replace(plan, step=step - 1), float(step)).plan
    assert forecast is not None
    assert forecast.mean_bps == pytest.approx(bps), "the link's, not the share's"
    return sum(plan.wire_bytes(pack(bucket), 2) for bucket in MODEL.buckets)


def test_a_model_plans_on_its_share_of_the_link() -> None:
    whole, shared, slower = plan_bytes(1.0, 40e6), plan_bytes(0.25, 40e6), plan_bytes(1.0, 10e6)
    assert whole > 2 * shared
    assert shared == pytest.approx(slower, rel=0.02)


def test_directions_are_not_measured_beside_other_models() -> None:
    link = SharedLink(Config(), 2)
    planner, known = Planner(Config(), MODEL.layers, 2, link=link), list[tuple[Floats, Floats] | None]()
    for step, beside in enumerate((0.0, MB)):
        told = everyone(MB, 1.0, beside)
        with_peers = np.hstack([told.table, [[MB, 0.0, 1.0], [MB, 1.0, 0.0]]])
        seen = Everyone(with_peers, told.buckets, told.layers)
        planner.observe(Observation.of(1 + step, 1.0 + step, MODEL.buckets, seen, None))
        known.append(link.directions(1.0))
    (first, _), (second, _) = (one for one in known if one is not None)
    assert first.max() <= 8 * MB
    assert second.tolist() == first.tolist(), "the second step did not count"


def test_directions_are_forgotten_when_they_are_not_measured(link: SharedLink) -> None:
    both = samples(1.0, 8e6, 8e6)
    none = LinkSamples.of([None, None])
    assert link.directions(1.0) is None
    assert link.update_directions(both, both)
    assert link.directions(1.0) is not None
    steps = 0
    while link.directions(2.0) is not None:
        assert not link.update_directions(both, none)
        steps += 1
        assert steps < 100
    assert steps == 9
