"""Error curves read off a sample: close to the exact ones, monotone, and never NaN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kimad.curves import DENSITIES, SAMPLES, Curve, SmoothedCurves, kept_energy, sample_stride

Floats = NDArray[np.float64]
SEEDS = (0, 1, 12345)


def exact(values: NDArray[np.float32]) -> Floats:
    energy = np.sort(values.astype(np.float64) ** 2)[::-1]
    cumulative = np.concatenate([[0.0], np.cumsum(energy)])
    kept: Floats = cumulative[np.ceil(DENSITIES * values.size).astype(int)]
    return kept


def read(values: NDArray[np.float32], seed: int = 0) -> Floats:
    return kept_energy(torch.from_numpy(values), seed)


@given(st.integers(0, 2**31), st.integers(1, 10_000))
def test_strides_avoid_the_periods_of_layers(n: int, samples: int) -> None:
    stride = sample_stride(n, samples)
    assert stride == 1 or all(stride % p for p in (2, 3, 5, 7))
    assert max(1, n // samples) <= stride < max(1, n // samples) + 12


@pytest.mark.parametrize("n", [4096, 100_000, 2_359_296, 25_000_000])
def test_there_are_about_as_many_samples_as_wanted(n: int) -> None:
    assert 0.5 * SAMPLES < n / sample_stride(n) <= 1.5 * SAMPLES


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [20_011, 147_456, 1_000_003])
@pytest.mark.parametrize(("tail", "bound"), [("laplace", 0.04), ("t5", 0.05), ("t4", 0.07)])
def test_close_to_the_exact_curve_on_heavy_tails(tail: str, bound: float, n: int, seed: int) -> None:
    """The deviation of the error, as a part of the layer's energy."""
    rng = np.random.default_rng(seed)
    drawn = rng.laplace(size=n) if tail == "laplace" else rng.standard_t(int(tail[1:]), n)
    truth = exact(drawn.astype(np.float32))
    deviation = np.abs(read(drawn.astype(np.float32), seed) - truth) / truth[-1]
    assert deviation.max() < bound
    assert deviation.mean() < bound / 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("position", [0, 4, 8])
def test_layers_of_period_nine(position: int, seed: int) -> None:
    """One position of every 3 x 3 kernel holds nearly everything; a stride of 36 would see all of it or nothing."""
    n = 589_824
    values = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    values[np.arange(n) % 9 != position] *= 0.01
    truth = exact(values)
    assert np.abs(read(values, seed) - truth).max() / truth[-1] < 0.04


def test_an_exact_sample_gives_the_exact_curve() -> None:
    values = np.random.default_rng(0).standard_t(3, 4000).astype(np.float32)
    assert read(values) == pytest.approx(exact(values), rel=1e-5)


kinds = st.sampled_from(["zeros", "one", "spike", "normal", "sparse", "tiny", "large"])


@settings(max_examples=60)
@given(kinds, st.sampled_from([0, 1, 2, 100, 4097, 30_000]), st.integers(0, 2**31))
def test_monotone_from_nothing_to_the_norm(kind: str, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = {
        "zeros": np.zeros(n),
        "one": np.ones(n),
        "spike": np.where(np.arange(n) == n // 2, 3.0, 0.0),
        "normal": rng.standard_normal(n),
        "sparse": np.where(rng.random(n) < 1e-3, rng.standard_normal(n), 0),
        "tiny": rng.standard_normal(n) * 1e-30,
        "large": rng.standard_normal(n) * 1e15,
    }[kind].astype(np.float32)
    kept = read(values, seed)
    assert kept.shape == DENSITIES.shape
    assert np.isfinite(kept).all()
    assert (kept >= 0).all()
    assert (np.diff(kept) >= -1e-12 * kept[-1]).all()
    if kind != "tiny":  # whose squares float32 does not hold
        assert kept[-1] == pytest.approx(float((values.astype(np.float64) ** 2).sum()), rel=1e-4)


def test_zeros_and_nothing_have_no_energy() -> None:
    assert not read(np.zeros(10_000, np.float32)).any()
    assert not read(np.zeros(0, np.float32)).any()


def test_one_entry_is_kept_whole_or_not_at_all() -> None:
    assert read(np.array([3], np.float32)).tolist() == [9.0] * len(DENSITIES)
    assert Curve(1, np.full(len(DENSITIES), 9.0)).kept(np.array([0, 1])).tolist() == [0, 9]


def test_energy_that_the_sample_misses_is_taken_as_spread_evenly() -> None:
    n = 1_000_000
    values = np.zeros(n, np.float32)
    values[1] = 2.0
    assert sample_stride(n) > 1
    assert read(values, seed=0) == pytest.approx(4.0 * DENSITIES)


@pytest.mark.parametrize("value", [1e25, float("inf"), float("nan")])
def test_what_overflows_has_no_curve_and_no_nan(value: float) -> None:
    assert np.isfinite(read(np.array([value, 1.0], np.float32))).all()


@pytest.mark.parametrize("n", [1, 2, 9, 1000, 123_457])
def test_curves_between_their_points(n: int) -> None:
    values = np.random.default_rng(n).standard_t(3, n).astype(np.float32)
    truth = exact(values)
    curve = Curve(n, truth)
    k = np.unique(np.linspace(0, n, 50).astype(np.int64))
    kept = curve.kept(k)
    assert kept[0] == 0
    assert kept[-1] == curve.total == truth[-1]
    assert (np.diff(kept) >= 0).all()
    assert curve.kept(np.ceil(DENSITIES * n).astype(np.int64)) == pytest.approx(truth)
    cumulative = np.concatenate([[0.0], np.cumsum(np.sort(values.astype(np.float64) ** 2)[::-1])])
    assert (kept <= cumulative[k] * (1 + 1e-9)).all()  # a chord lies below a concave curve


def test_readings_are_smoothed() -> None:
    curves = SmoothedCurves([10, 20])
    assert not curves.ready
    with pytest.raises(RuntimeError, match="no reading"):
        curves.curves()
    first = np.outer([1.0, 2.0], np.linspace(0.1, 1, len(DENSITIES)))
    curves.update(first)
    first_total = [c.total for c in curves.curves()]
    curves.update(3 * first)
    assert first_total == [1.0, 2.0]
    assert [c.total for c in curves.curves()] == pytest.approx([2.0, 4.0])
    assert [c.numel for c in curves.curves()] == [10, 20]


def test_a_reading_belongs_to_its_caller() -> None:
    reading = np.ones((1, len(DENSITIES)))
    curves = SmoothedCurves([10])
    curves.update(reading)
    reading *= 100
    assert curves.curves()[0].total == 1


def test_zeros_are_no_reading_to_plan_on() -> None:
    curves = SmoothedCurves([10])
    curves.update(np.zeros((1, len(DENSITIES))))
    assert not curves.ready
    curves.update(np.ones((1, len(DENSITIES))))
    assert curves.ready


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_an_overflown_reading_does_not_stay_for_ever(bad: float) -> None:
    curves = SmoothedCurves([10])
    curves.update(np.ones((1, len(DENSITIES))))
    curves.update(np.full((1, len(DENSITIES)), bad))
    curves.update(np.ones((1, len(DENSITIES))))
    assert curves.curves()[0].total == 1
