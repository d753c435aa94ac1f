"""Selection is exact, whatever the data, in memory of the order of k."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kimad.compressors import NonFiniteError, Option, decode, encode, wire_bytes
from kimad.compressors import select as selection
from tests.compressors.cases import DERANDOMIZED, KINDS, decoded, frame_of, sample

Floats = NDArray[np.float32]
TINY = np.finfo(np.float32).tiny


def reference(values: Floats, k: int) -> NDArray[np.int64]:
    """Indices of the k largest magnitudes, of equal ones the lowest; none below the smallest normal float32."""
    order = np.argsort(-np.abs(values), kind="stable")[:k]
    order = order[np.abs(values[order]) >= TINY]
    return np.sort(order)


def check(values: Floats, k: int, key: int = 0) -> None:
    indices, kept = selection.select(values, k, key)
    assert np.array_equal(indices, reference(values, k))
    assert np.array_equal(kept, values[indices])


@DERANDOMIZED
@given(
    st.sampled_from(sorted(KINDS)), st.sampled_from([1, 5, 1000, 4096, 4097, 50_021, 300_007]),
    st.floats(0, 1), st.integers(0, 2**20),
)  # fmt: skip
def test_is_the_exact_top_k(kind: str, n: int, density: float, key: int) -> None:
    check(sample(kind, n, key).numpy(), max(1, round(density * density * n)), key)


@pytest.mark.parametrize("density", [0.0001, 0.001, 0.01, 0.1, 0.9, 1.0])
def test_keeps_the_energy_of_argpartition(density: float) -> None:
    values = sample("heavy", 700_001, 5).numpy()
    k = max(1, int(density * values.size))
    best = np.argpartition(np.abs(values), values.size - k)[values.size - k :]
    _, kept = selection.select(values, k)
    assert kept.size == k
    assert np.sort(np.abs(kept)).tolist() == np.sort(np.abs(values[best])).tolist()


@pytest.mark.parametrize("n", [100, 3000, 600_000])
def test_of_ties_the_lowest_index_comes_first(n: int) -> None:
    values = np.where(np.arange(n) % 3 == 0, -1, 1).astype(np.float32)
    values[n // 2] = 5
    indices, _ = selection.select(values, 10)
    assert indices.tolist() == [*range(9), n // 2]


@pytest.mark.parametrize("step", [2, 3, 5, 7, 9, 25, 49])
def test_periodic_layers_are_selected_exactly_in_one_pass(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As convolution kernels are: energy in one of 9 positions. A stride with that factor would see only one."""
    passes: list[int] = []
    scan = selection._scan

    def counted(values: Floats, k: int, threshold: np.float32) -> tuple[NDArray[np.int32], Floats]:
        passes.append(k)
        return scan(values, k, threshold)

    monkeypatch.setattr(selection, "_scan", counted)
    rng = np.random.default_rng(step)
    for n in (147_456, 589_824):
        for position in {0, 1, step // 2, step - 1}:
            values = rng.standard_normal(n).astype(np.float32) * 0.01
            values[position::step] *= 100
            passes.clear()
            check(values, n // 100)
            assert len(passes) <= 2
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
        for code in ("log4", "int8", "float32"):
            carried = decoded(frame_of(values, Option("topk", k, code)), n)
            assert torch.nonzero(carried).flatten().tolist() == [place]
            assert carried[place].item() == pytest.approx(-3.0, rel=2e-3)


@pytest.mark.parametrize("code", ["log4", "int8", "float32"])
@pytest.mark.parametrize("n", [50, 100_000])
def test_an_all_zero_layer_sends_no_entry(n: int, code: str) -> None:
    values = torch.zeros(n)
    values[1::2] = -0.0
    frame = frame_of(values, Option("topk", n // 10, code))
    assert frame[12:16].tolist() == [0, 0, 0, 0]
    assert not frame[16:].any()
    assert not decoded(frame, n).any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("n", [50, 4097])
def test_non_finite_values_are_refused(n: int, bad: float) -> None:
    values = torch.ones(n)
    values[n // 2] = bad
    for option in [Option("topk", n // 10, c) for c in ("log4", "int8", "float32")] + [
        Option(name) for name in ("int8", "bfloat16", "float32")
    ]:
        if np.isnan(bad) and option.k and n > selection.DIRECT:
            continue  # not seen by the pass, and never sent
        with pytest.raises(NonFiniteError, match="NaN or infinity"):
            encode(values, option, torch.empty(wire_bytes((n,), option), dtype=torch.uint8))


def test_nan_that_is_not_seen_is_never_sent() -> None:
    values = sample("normal", 100_000, 1)
    values[5] = float("nan")
    frame = frame_of_nan(values, Option("topk", 1000, "log4"))
    assert bool(torch.isfinite(decoded(frame, 100_000)).all())


def frame_of_nan(values: torch.Tensor, option: Option) -> torch.Tensor:
    out = torch.empty(wire_bytes(values.shape, option), dtype=torch.uint8)
    encode(values, option, out)
    return out


@pytest.mark.parametrize("name", ["topk", "int8", "bfloat16", "float32"])
def test_nothing_of_the_tensors_size_is_allocated(name: str) -> None:
    n = 4_000_000
    values = sample("heavy", n, 1)
    option = Option(name, n // 100, "log4") if name == "topk" else Option(name)
    frame = torch.empty(wire_bytes((n,), option), dtype=torch.uint8)
    encode(values, option, frame)
    decode(frame, values, -1.0)
    tracemalloc.start()
    encode(values, option, frame)
    decode(frame, values, -1.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < n / 2, f"{peak} bytes for a layer of {4 * n}"


def test_threads_do_not_share_scratch() -> None:
    layers = [sample("heavy", 200_003, seed) for seed in range(4)]
    choices = [Option("topk", 5000, "log4"), Option("topk", 5000, "int8"), Option("int8"), Option("bfloat16")]
    expected = [[frame_of(layer, option) for option in choices] for layer in layers]
    wrong = []

    def work(i: int) -> None:
        for _ in range(5):
            for option, frame in zip(choices, expected[i], strict=True):
                if not torch.equal(frame_of(layers[i], option), frame):
                    wrong.append((i, option))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(layers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
