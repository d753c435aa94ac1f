"""The quadratic example's parts: laws of EF21, top-k, allocations, transfers, and the theorems on a small instance."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from examples.quadratic import checks, ef21, ef21_p
from examples.quadratic.allocation import ALLOCATIONS
from examples.quadratic.budget import Sender, entries_within, message_bits
from examples.quadratic.checks import alpha_of, check_all
from examples.quadratic.config import Config
from examples.quadratic.experiment import lines, run_all
from examples.quadratic.knapsack import allocate, options
from examples.quadratic.problem import make
from examples.quadratic.run import Limits
from examples.quadratic.simulate import Setting, simulate
from examples.quadratic.theory import Contraction, step_1
from examples.quadratic.topk import topk
from examples.quadratic.transfer import finish_s, rate_bps
from examples.quadratic.uplink import descend, entries_on
from kimad.trace import PaperSine

Floats = NDArray[np.float64]
LINK = PaperSine(0.016, 0.2, 0.0016)
SMALL = Config(
    workers=2, layers=4, width=16, seconds=30.0, entries=(8,), round_s=(0.4,), steps=(0.2,), check_rounds=300
)


def vectors(n: int = 6, layers: int = 4, width: int = 16, seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, layers, width)) * np.geomspace(1, 30, layers)[:, None]


def test_the_gradient_is_that_of_the_gap() -> None:
    problem = make(3, 2, 4, seed=1)
    x, direction = np.random.default_rng(2).standard_normal((2, 2, 4))
    slope = (problem.gap(x + 1e-6 * direction) - problem.gap(x - 1e-6 * direction)) / 2e-6
    assert slope == pytest.approx(float((problem.gradient(x) * direction).sum()), rel=1e-6)
    np.testing.assert_allclose(problem.gradients(x).mean(axis=0), problem.gradient(x))
    assert problem.gap(problem.minimum) == 0
    assert problem.strength < problem.smoothness <= problem.mean_smoothness


@pytest.mark.parametrize("sizes", [(0, 1, 1, 0), (1, 0, 1, 0), (1, 1, 0, 0), (1, 1, 1, -1)])
def test_a_size_that_cannot_be_is_refused(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="it must be"):
        make(*sizes)


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_both_recursions_keep_what_they_were_given(allocation: str) -> None:
    """u_new = u_old + decoded at either end, and what is owed afterwards is what was left out."""
    old, wanted = vectors(seed=1), vectors(seed=2)
    for method in (ef21, ef21_p):
        owed = method.owed(wanted, old)
        decoded, _ = ALLOCATIONS[allocation](owed, np.full(6, 9))
        new = method.received(old, decoded)
        np.testing.assert_array_equal(new, old + decoded)
        np.testing.assert_allclose(method.owed(wanted, new), owed - decoded, atol=1e-12)


def test_estimates_of_several_workers_are_averaged_in_a_step() -> None:
    model, estimates = vectors(2), np.stack([vectors(2, seed=3), vectors(2, seed=4)], axis=1)
    stepped = ef21.step(model, estimates, np.array([0.5, 0.0]))
    np.testing.assert_allclose(stepped[0], model[0] - 0.25 * (estimates[0, 0] + estimates[0, 1]))
    np.testing.assert_array_equal(stepped[1], model[1])


def test_topk_keeps_exactly_k_also_among_equals() -> None:
    rows = np.array([[3.0, -3, 3, 1], [0, 0, 0, 2], [1, -2, 3, -4], [5, 5, 5, 5]])
    kept = topk(rows, np.array([2, 3, 0, 4]))
    assert np.count_nonzero(kept, axis=-1).tolist() == [2, 1, 0, 4]
    assert np.abs(kept).sum(axis=-1).tolist() == [6, 2, 0, 20]


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("entries", [4, 5, 11, 30, 64, 1000])
def test_a_message_holds_what_it_may_and_contracts(allocation: str, entries: int) -> None:
    v = vectors()
    decoded, sent = ALLOCATIONS[allocation](v, np.full(len(v), entries))
    assert (sent <= min(entries, 64)).all()
    assert (np.count_nonzero(decoded, axis=(1, 2)) == sent).all()
    assert np.isin(decoded[decoded != 0], v).all()
    left, energy = ((v - decoded) ** 2).sum(axis=(1, 2)), (v**2).sum(axis=(1, 2))
    assert (left <= (1 - alpha_of(allocation, min(entries, 64), 4, 16)) * energy).all()


def test_one_density_has_whole_entries_that_add_up() -> None:
    decoded, sent = ALLOCATIONS["uniform"](vectors(), np.arange(6) + 20)
    counts = np.count_nonzero(decoded, axis=2)
    assert sent.tolist() == list(range(20, 26))
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()


def test_the_knapsack_is_exact() -> None:
    v = vectors(8, layers=3, width=8)
    ks = options(8)
    assert ks.tolist() == [0, 1, 2, 3, 4, 6, 8]
    budgets = np.array([0, 3, 4, 5, 7, 11, 17, 30])
    counts = allocate(v, budgets, ks)
    energy = np.cumsum(np.sort(v**2, axis=-1)[..., ::-1], axis=-1)
    for vector, budget, found in zip(energy, budgets, counts, strict=True):

        def kept(choice: tuple[int, ...], vector: Floats = vector) -> float:
            return sum(float(layer[k - 1]) for layer, k in zip(vector, choice, strict=True) if k)

        best = max(kept(c) for c in itertools.product(ks.tolist(), repeat=3) if sum(c) <= budget)
        assert found.sum() <= budget
        assert kept(tuple(found.tolist())) == pytest.approx(best, rel=1e-12)


def test_the_knapsack_with_every_count_is_top_k_of_the_whole_vector() -> None:
    """All entries cost the same, so one threshold for all layers is best."""
    v, entries = vectors(), np.arange(6) * 7 + 4
    counts = allocate(v, entries, np.arange(17))
    decoded, _ = ALLOCATIONS["whole"](v, entries)
    np.testing.assert_array_equal(topk(v, counts), decoded)


def test_the_knapsack_leaves_out_no_more_than_one_density() -> None:
    v, entries = vectors(), np.full(6, 16)
    errors = {name: ((v - c(v, entries)[0]) ** 2).sum(axis=(1, 2)) for name, c in ALLOCATIONS.items()}
    assert (errors["whole"] <= errors["knapsack"]).all()
    assert (errors["knapsack"] < errors["uniform"]).all()


@pytest.mark.parametrize(
    "link", [LINK, PaperSine(0.016, 40.0, 0.0016), PaperSine(1.0, 3.0, 0.0), PaperSine(0.0, 1.0, 2.0)]
)
def test_a_transfer_ends_when_its_bits_are_through(link: PaperSine) -> None:
    rng = np.random.default_rng(0)
    start_s = np.append(rng.uniform(0, 2000, 40), [0.0, math.pi / link.theta_rad_per_s])
    bits = np.append(10 ** rng.uniform(0, 5, 40), [0.0, 640.0])
    end_s = finish_s(link, start_s, bits)
    assert (end_s >= start_s).all()
    for start, end, sent in zip(start_s.tolist(), end_s.tolist(), bits.tolist(), strict=True):
        assert 1e6 * link.mean_mbps(start, end) * (end - start) == pytest.approx(sent, rel=1e-6, abs=1e-3)
    assert float(rate_bps(link, np.array(1.3))) == pytest.approx(1e6 * link.mbps(1.3))


def test_a_link_that_carries_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="never carries anything"):
        finish_s(PaperSine(0.0, 1.0, 0.0), np.zeros(1), np.ones(1))


def test_a_budget_is_whole_entries_and_all_of_them_need_no_positions() -> None:
    rates_bps = np.array([0.0, 1000.0, 6400.0, 20479.0, 20480.0, 1e12])
    entries = entries_within(rates_bps, np.array(0.1), layers=8, size=64)
    assert entries.tolist() == [8, 8, 10, 31, 64, 64]
    assert message_bits(entries, 64).tolist() == [512, 512, 640, 1984, 2048, 2048]


@pytest.mark.parametrize(("entries", "round_s"), [(None, None), (4, 1.0)])
def test_a_sender_has_one_rule(entries: int | None, round_s: float | None) -> None:
    with pytest.raises(ValueError, match="exactly one must be given"):
        Sender("uniform", entries=entries, round_s=round_s)


def test_a_round_takes_its_transfers_and_its_computing() -> None:
    """On a link that never changes a fixed message takes the same time, and a budget is kept from the first round."""
    steady = Setting(make(2, 4, 16, 0), PaperSine(0.0, 1.0, 0.01), 0.05, 0)
    fixed = simulate(steady, [(Sender("uniform", entries=10), 1e-3)], Limits(0.0, 100.0, 5))
    np.testing.assert_allclose(fixed[0].round_s, 0.05 + 2 * 640 / 10_000)
    budget = simulate(steady, [(Sender("uniform", round_s=0.25), 1e-3)], Limits(0.0, 100.0, 5))
    np.testing.assert_allclose(budget[0].round_s, 0.05 + 2 * 960 / 10_000)


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_with_every_entry_sent_it_is_gradient_descent(allocation: str) -> None:
    """The model that the workers have is the server's, so a round is x ← x − γ ∇f(x)."""
    problem = make(2, 4, 16, 0)
    gamma = 1 / problem.smoothness
    (run,) = simulate(Setting(problem, LINK, 0.05, 0), [(Sender(allocation, entries=64), gamma)], Limits(0.0, 1e9, 20))
    x, gaps = np.zeros((4, 16)), []
    for _ in range(20):
        x = x - gamma * problem.gradient(x)
        gaps.append(float(problem.gap(x)) / problem.start_gap)
    np.testing.assert_allclose(run.gap, gaps, rtol=1e-9)


def test_only_runs_that_can_still_win_go_on() -> None:
    problem = make(2, 4, 16, 0)
    pairs = [(Sender("whole", entries=32), step / problem.smoothness) for step in (0.25, 0.5, 5.0)]
    slow, quick, diverged = simulate(Setting(problem, LINK, 0.05, 0), pairs, Limits(1e-6, 1e4, 3000))
    assert quick.seconds_to(1e-6) == quick.t_s[-1]
    assert slow.seconds_to(1e-6) is None
    assert slow.t_s[-1] <= quick.t_s[-1]
    assert diverged.gap[-1] > 1e3
    (alone,) = simulate(Setting(problem, LINK, 0.05, 0), pairs[:1], Limits(1e-6, 1e4, 3000))
    reached_s = alone.seconds_to(1e-6)
    assert reached_s is not None
    assert reached_s > quick.t_s[-1]


def test_following_the_link_keeps_rounds_nearer_to_their_target_than_sizes_at_random() -> None:
    runs = run_all(SMALL, LINK)
    p95 = {line.name: np.percentile(line.run.round_s, 95) for line in lines(SMALL, LINK, runs)}
    assert p95["Kimad, rate known"] < p95["Kimad's sizes at random"]


@pytest.mark.parametrize("seed", [0, 7])
def test_the_theorems_hold_with_another_k_in_every_round(seed: int) -> None:
    found = check_all(replace(SMALL, seed=seed), LINK)
    assert [(c.theorem, c.allocation) for c in found] == [(t, a) for a in ALLOCATIONS for t in (1, 2)]
    assert all(c.holds for c in found)
    assert all(0 < c.value <= c.bound for c in found)
    entries = entries_on(LINK, SMALL.compute_s, 0.475, 300, 4, 64)
    assert np.diff(entries).all()
    assert entries.max() > 2 * entries.min()


def test_a_bound_that_fails_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step far above what the theorem allows diverges; an alpha above what was kept is no contraction."""
    short = replace(SMALL, check_rounds=40)
    monkeypatch.setattr(checks, "step_1", lambda problem, of: 100 * step_1(problem, of))
    found = check_all(short, LINK)
    assert [c.holds for c in found] == [False, True] * 3
    monkeypatch.undo()
    monkeypatch.setattr(checks, "alpha_of", lambda *sizes: 0.999)
    assert not any(c.holds for c in check_all(short, LINK))


@pytest.mark.parametrize("alpha", [0.0, -0.1, 1.1, math.nan])
def test_an_alpha_that_is_no_contraction_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        Contraction(alpha)


def test_theta_and_beta() -> None:
    of = Contraction(0.19)  # sqrt(1 - 0.19) = 0.9
    assert of.theta == pytest.approx(0.1)
    assert of.beta == pytest.approx(8.1)


def test_a_practical_step_reaches_1e_minus_10_within_4000_rounds() -> None:
    """γ = 0.35/L, some fifty times the theorem's, K between 2 % and 20 % of d and another in nearly every round."""
    problem = make(4, 8, 64, seed=0)
    entries = np.floor(512 * (0.02 + 0.18 * np.sin(0.05 * np.arange(4000)) ** 2)).astype(np.int64)
    for allocation in ("uniform", "whole"):
        run = descend(problem, ALLOCATIONS[allocation], entries, np.array([0.35 / problem.smoothness]))
        assert run.gap[0, 0] == problem.start_gap
        assert run.gap[-1, 0] <= 1e-10 * problem.start_gap
