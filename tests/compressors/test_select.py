"""Selection is exact, whatever the data, in memory of the order of k."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kimad.compressors import ALL_VALUE_CODES, NonFiniteError, Option, decode, kernels
from kimad.compressors import select as selection
from tests.compressors.cases import BUILT, DERANDOMIZED, KINDS, TINY, decoded, energy, frame_of, sample

Floats = NDArray[np.float32]


def reference(values: Floats, k: int) -> NDArray[np.int64]:
    """Indices of the k largest magnitudes, of equal ones the lowest; none below the smallest normal float32."""
    order = np.argsort(-np.abs(values), kind="stable")[:k]
    order = order[np.abs(values[order]) >= np.float32(TINY)]
    return np.sort(order)


def check(values: Floats, k: int, key: int = 0) -> None:
    """The same with the values as they are, and as the sum of a residual and a gradient."""
    expected = reference(values, k)
    indices, kept = selection.select(values, k, key)
    assert np.array_equal(indices, expected)
    assert np.array_equal(kept, values[expected])
    residual = values * np.float32(0.5)
    gradient = values - residual
    indices, kept = selection.select(residual, k, key, gradient)
    assert np.array_equal(residual, values)
    assert np.array_equal(indices, expected)
    assert np.array_equal(kept, values[expected])


@DERANDOMIZED
@given(
    st.sampled_from(sorted(KINDS)), st.sampled_from([1, 5, 1000, 4096, 4097, 50_021, 300_007]),
    st.floats(0, 1), st.integers(0, 2**20),
)  # fmt: skip
def test_is_the_exact_top_k(kind: str, n: int, density: float, key: int) -> None:
    check(sample(kind, n, key).numpy(), max(1, round(density * density * n)), key)


@pytest.mark.parametrize("density", [0.0001, 0.001, 0.01, 0.1, 0.9, 1.0])
def test_keeps_the_energy_of_partition(density: float) -> None:
    values = sample("heavy", 700_001, 5).numpy()
    k = max(1, int(density * values.size))
    best = np.partition(np.abs(values), values.size - k)[values.size - k :]
    _, kept = selection.select(values, k)
    assert kept.size == k
    assert np.array_equal(np.sort(np.abs(kept)), np.sort(best))


@pytest.mark.parametrize("n", [100, 3000, 600_000])
def test_topk_keeps_the_energy_of_partition(n: int) -> None:
    """And threshold the same of what reaches it."""
    values = sample("heavy", n, 5)
    k = n // 20
    best = np.partition(np.abs(values.numpy()), n - k)[n - k :].astype(np.float64)
    found = decoded(frame_of(values, Option("topk", k, "float32")), n)
    assert energy(found) == pytest.approx(float((best**2).sum()), rel=1e-12)
    limit = float(np.float32(np.quantile(best, 0.3)))
    found = decoded(frame_of(values, Option("threshold", k, "float32", limit)), n)
    assert energy(found) == pytest.approx(float((best[best >= limit] ** 2).sum()), rel=1e-12)
    assert found[found != 0].abs().min().item() >= limit


@pytest.mark.parametrize("n", [10 * 32, 1000, 600_001])
def test_blocktopk_keeps_the_blocks_of_most_energy(n: int) -> None:
    values = sample("heavy", n, 5)
    padded = np.zeros(-(-n // 32) * 32)
    padded[:n] = values.double().numpy()
    norms = (padded.reshape(-1, 32) ** 2).sum(axis=1)
    k = n // 5 // 32
    found = decoded(frame_of(values, Option("blocktopk", 32 * k + 31, "float32")), n)
    assert energy(found) == pytest.approx(float(np.sort(norms)[-k:].sum()), rel=1e-6)
    assert torch.equal(found[found != 0], values[found != 0])


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e30])
def test_blocks_of_any_magnitude_are_selected_alike(scale: float) -> None:
    """Their squares may leave the range of float32."""
    values = sample("heavy", 5000, 7)
    places = decoded(frame_of(values, Option("blocktopk", 320, "float32")), 5000) != 0
    scaled = decoded(frame_of(values * scale, Option("blocktopk", 320, "float32")), 5000) != 0
    assert torch.equal(places, scaled)


@pytest.mark.parametrize("n", [100, 3000, 600_000])
def test_of_ties_the_lowest_index_comes_first(n: int) -> None:
    values = np.where(np.arange(n) % 3 == 0, -1, 1).astype(np.float32)
    values[n // 2] = 5
    indices, _ = selection.select(values, 10)
    assert indices.tolist() == [*range(9), n // 2]


@pytest.mark.parametrize("step", [2, 3, 5, 7, 9, 25, 49])
def test_periodic_layers_are_selected_exactly_in_one_pass(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As convolution kernels are: energy in one of 9 positions. A stride with that factor would see only one."""
    monkeypatch.setattr(kernels, "_enabled", False)  # passes of compiled code cannot be counted
    passes: list[int] = []
    scan = selection._scan

    def counted(
        values: Floats, k: int, threshold: np.float32, gradient: Floats | None
    ) -> tuple[NDArray[np.int32], Floats]:
        passes.append(k)
        return scan(values, k, threshold, gradient)

    monkeypatch.setattr(selection, "_scan", counted)
    rng = np.random.default_rng(step)
    for n in (147_456, 589_824):
        for position in {0, 1, step // 2, step - 1}:
            values = rng.standard_normal(n).astype(np.float32) * 0.01
            values[position::step] *= 100
            passes.clear()
            check(values, n // 100)
            assert len(passes) <= 4  # `check` selects twice
    assert all(selection.coprime_stride(s) % p for s in range(2, 2000) for p in (2, 3, 5, 7))


def test_a_sample_that_misleads_costs_passes_and_no_exactness() -> None:
    values = np.full(300_000, 1e-3, np.float32)
    stride = selection.coprime_stride(values.size // 16384)
    values[::stride] = 1  # what the sample sees
    check(values, values.size // 2)
    check(-values, 200_000)


@pytest.mark.parametrize("rising", [True, False])
def test_many_candidates_are_trimmed_on_the_way(rising: bool) -> None:
    n = 2_000_000
    values = np.full(n, 0.5, np.float32)
    check(values, 100)
    ramp = np.linspace(1, 2, n, dtype=np.float32)
    check(ramp if rising else ramp[::-1].copy(), 1000)
    hidden = np.zeros(n, np.float32)
    hidden[: n // 2] = ramp[n // 2 :]  # the sample's threshold fits, then ties
    check(hidden, n // 4)


@pytest.mark.parametrize("place", [0, 1, 4_194_304, 4_500_000])
def test_a_single_entry_of_more_than_four_million(place: int) -> None:
    n = 4_500_001
    values = torch.zeros(n)
    values[place] = -3.0
    for k in (1, 1000):
        for code in ("log4", "int8", "float32", "sign"):
            found = decoded(frame_of(values, Option("topk", k, code)), n)
            assert torch.nonzero(found).flatten().tolist() == [place]
            assert found[place].item() == pytest.approx(-3.0, rel=2e-3)


@pytest.mark.parametrize("code", [code.name for code in ALL_VALUE_CODES])
@pytest.mark.parametrize("name", ["topk", "threshold", "blocktopk"])
@pytest.mark.parametrize("n", [500, 100_000])
def test_an_all_zero_layer_sends_no_entry(name: str, n: int, code: str) -> None:
    values = torch.zeros(n)
    values[1::2] = -0.0
    frame = frame_of(values, Option(name, n // 10, code))
    assert frame[12:16].tolist() == [0, 0, 0, 0]
    assert not frame[16:].any()
    assert not decoded(frame, n).any()


def test_fewer_entries_than_planned_leave_zeros_behind() -> None:
    values = torch.zeros(1000)
    values[[3, 500]] = torch.tensor([2.0, -1.0])
    frame = frame_of(values, Option("topk", 100, "float32"))
    assert frame[12:16].tolist() == [2, 0, 0, 0]
    assert frame[-300:].sum() == 0
    assert torch.equal(decoded(frame, 1000), values)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("n", [50, 4096, 4097, 700_000])
@pytest.mark.parametrize("fused", [False, True])
def test_selection_sees_every_value_that_is_not_finite(n: int, bad: float, fused: bool) -> None:
    """Wherever it hides: NaN compares as smaller than any threshold."""
    for place in {0, 1, n // 3, n // 2 + 1, n - 1}:
        for k in {1, n // 100 + 1, n // 2, n - 1}:
            values = sample("normal", n, place).numpy()
            values[place] = bad
            gradient = values * np.float32(0.5) if fused else None
            with pytest.raises(NonFiniteError, match="NaN or infinity"):
                selection.select(values, k, 0, gradient)


def test_frames_add_what_was_selected_with_a_gradient() -> None:
    """The residual after the fused pass is 0 where entries were sent, and the sum elsewhere."""
    values = sample("heavy", 300_007, 8)
    frame = frame_of(values, Option("topk", 3000, "float32"))
    residual = values.clone()
    decode(frame, residual, -1.0)
    assert int((residual != values).sum()) == 3000
    assert residual.abs().max().item() <= np.sort(values.abs().numpy())[-3000]


@BUILT
@DERANDOMIZED
@given(
    st.sampled_from(sorted(KINDS)), st.sampled_from([1, 2, 31, 32, 33, 64, 1000, 4097, 9973, 50_021]), st.floats(0, 1),
    st.integers(0, 2**16),
)  # fmt: skip
def test_selecting_keeps_the_largest_and_of_ties_the_first(kind: str, n: int, share: float, seed: int) -> None:
    values = sample(kind, n, seed).numpy()
    k = max(1, min(n, int(share * n)))
    found = kernels.select(values, k, None)
    assert found is not None
    expected = reference(values, k)
    assert np.array_equal(found[0], expected)
    assert np.array_equal(found[1], values[expected])


@BUILT
@pytest.mark.parametrize("k", [1, 1000, 700_000, 1_999_999])
def test_selecting_goes_on_where_room_ran_out(k: int) -> None:
    """A sample that meets next to nothing lets everything through: it is trimmed on the way, and exact all the same."""
    n = 2_000_000
    values = np.random.default_rng(k).standard_normal(n).astype(np.float32)
    stride = selection.coprime_stride(n // min(16384, max(2048, 48 * n // k)))
    values[stride // 2 :: stride] = 1e-20  # all that the sample sees
    gradient = sample("ties", n, 5).numpy() * np.float32(1e-25)
    total = values + gradient
    room = kernels._call("select_room", n, k)
    assert (room < n) is (k < 1_000_000)
    found = kernels.select(values, k, gradient)
    assert found is not None
    assert np.array_equal(values, total)
    expected = reference(total, k)
    assert np.array_equal(found[0], expected)
    assert np.array_equal(found[1], total[expected])
