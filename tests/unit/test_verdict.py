"""Verdicts say what was taken, against what, and at which link rate it turns."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

from kimad import ErrorBound, Objective, Progress, StepTime
from kimad.candidates import Candidates
from kimad.compressors import Option
from kimad.layout import Layer
from kimad.plan import BFLOAT16, DROP, FLOAT32
from kimad.solver import Lagrangian
from kimad.verdict import Verdict, flip_bps, kind, quantity
from tests.unit.cases import heavy_model

MODEL = heavy_model(24, seed=5)
READY_S = np.linspace(0.1, 0.2, len(MODEL.buckets))


def candidates(bps: float) -> Candidates:
    menu = MODEL.menu(bps)
    return Candidates.of(menu, Lagrangian().frontier(menu), READY_S, bps)


def pick(objective: Objective, bps: float) -> float:
    """Error of the best plan at a rate."""
    among = candidates(bps)
    return float(among.error[objective.pick(among.points())])


def taken(among: Candidates, objective: Objective) -> Candidates:
    i = objective.pick(among.points())
    return Candidates(
        [among.choices[i]], among.link_s[[i]], among.coding_s[[i]], among.error[[i]], among.ready_s, among.bps
    )


def words(verdict: Verdict, objective: Objective, bps: float, step: int = 1, of: str = "sparse") -> str:
    among = candidates(bps)
    return verdict.words(step, of, taken(among, objective), lambda: among, candidates)


def test_candidates_at_another_rate_are_those_of_its_menu() -> None:
    menu, slow = MODEL.menu(30e6), MODEL.menu(3e6)
    choices = Lagrangian().frontier(menu)
    scaled, made = Candidates.of(menu, choices, READY_S, 30e6), Candidates.of(slow, choices, READY_S, 3e6)
    assert scaled.points(3e6).step_s == pytest.approx(made.points().step_s)
    assert scaled.points(3e6).cost_s == pytest.approx(made.points().cost_s)
    assert scaled.wire_bytes == pytest.approx(made.wire_bytes)
    assert scaled.points().cost_s == pytest.approx([c.cost_s for c in choices])


@pytest.mark.parametrize("objective", [Progress(), Progress(0.3), StepTime(0.4)], ids=str)
def test_plans_turn_where_the_verdict_says(objective: Objective) -> None:
    """Decided anew a tenth below the rate found something is left out, a tenth above nothing."""
    for bps in (5e6, 300e6, 100e9):
        found = flip_bps(objective, candidates(bps), candidates)
        assert found is not None
        assert pick(objective, 0.9 * found) > 0
        assert pick(objective, 1.1 * found) == 0


def test_without_a_dense_plan_nothing_turns() -> None:
    among = candidates(5e6)
    some = np.flatnonzero(among.error > 0)
    sparse = Candidates(
        [among.choices[i] for i in some.tolist()],
        among.link_s[some],
        among.coding_s[some],
        among.error[some],
        READY_S,
        5e6,
    )
    assert flip_bps(Progress(), sparse, candidates) is None


def test_a_sentence_of_progress() -> None:
    among = candidates(20e6)
    said = words(Verdict(Progress(), 10), Progress(), 20e6)
    form = (
        r"sparse, ([\d.]+) kB: ([\d.]+) cosine/s against ([\d.]+) for [\d.]+ [kM]B; "
        r"dense float32 would win above [\d.]+ [MG]bit/s"
    )
    match = re.fullmatch(form, said)
    assert match, said
    i = Progress().pick(among.points())
    assert float(match[1]) == pytest.approx(among.wire_bytes[i] / 1e3, rel=0.05)
    assert float(match[2]) == pytest.approx(np.sqrt(1 - among.error[i]) / among.points().step_s[i], rel=0.01)
    assert float(match[3]) <= float(match[2])


def test_a_dense_plan_says_when_less_would_be_better() -> None:
    said = words(Verdict(Progress(), 10), Progress(), 100e9, of="dense float32")
    assert said.startswith("dense float32, ")
    assert re.search(r"; less would win below [\d.]+ [MG]bit/s$", said)


@pytest.mark.parametrize("objective", [StepTime(0.4), ErrorBound(0.05)], ids=str)
def test_a_sentence_of_a_hard_target(objective: Objective) -> None:
    form = r"sparse, [\d.]+ [kM]B: squared error [\d.]+ % in [\d.]+ s; dense float32 would win above [\d.]+ [MG]bit/s"
    assert re.fullmatch(form, words(Verdict(objective, 10), objective, 20e6))


def test_the_rate_is_found_anew_now_and_then_and_for_another_plan() -> None:
    asked: list[int] = []

    def say(step: int, bps: float) -> None:
        def again(other_bps: float) -> Candidates:
            asked.append(step)
            return candidates(other_bps)

        among = candidates(bps)
        verdict.words(step, "sparse", taken(among, Progress()), lambda: among, again)

    verdict = Verdict(Progress(), 10)
    for step in range(1, 25):
        say(step, 20e6)
    say(25, 2e6)
    say(26, 2e6)
    assert sorted(set(asked)) == [1, 11, 21, 25]


LAYERS = [Layer("a", (100,)), Layer("b", (10,)), Layer("c", (500,), "int64", 8)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((FLOAT32, FLOAT32), "dense float32"),
        ((BFLOAT16, BFLOAT16), "dense bfloat16"),
        ((BFLOAT16, FLOAT32), "mostly bfloat16"),
        ((Option("topk", 3, "log4"), BFLOAT16), "sparse"),
        ((DROP, Option("topk", 3, "log4")), "sparse"),
        ((Option("int8"), DROP), "int8"),
    ],
)
def test_kinds(options: Sequence[Option], expected: str) -> None:
    """By entries; the plain layer, the largest one, does not count."""
    plan = dict(zip("abc", [*options, FLOAT32], strict=True))
    assert kind(plan, LAYERS) == expected
    assert kind(plan, LAYERS[2:]) == "dense"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (961e3, "961 kB"), (4.13e6, "4.1 MB"), (34.2e6, "34 MB"), (2.1e9, "2.1 GB"), (999.6e3, "1 MB")],
)
def test_quantities(value: float, text: str) -> None:
    assert quantity(value, "B") == text
