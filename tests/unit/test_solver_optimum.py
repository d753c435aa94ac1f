"""The Lagrangian solver against exact optima: an integer program, and one threshold for all layers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from kimad.curves import DENSITIES
from kimad.menu import Menu
from kimad.solver import Choice, Lagrangian
from tests.unit.cases import Model, heavy_model
from tests.unit.instances import integer_optimum

Floats = NDArray[np.float64]


@pytest.mark.parametrize("bps", [1e6, 300e6])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_against_an_integer_program(share: float, bps: float) -> None:
    model = heavy_model(10, seed=7, bucket_layers=3)
    menu = model.menu(bps)
    budget_s = share * model.dense_s(bps)
    optimum = integer_optimum(menu, budget_s, seconds=4)
    choice = Lagrangian().solve(menu, budget_s)
    assert choice.bound <= optimum * (1 + 1e-6)
    assert choice.error <= optimum * 1.001  # mostly below: k may lie between the densities of the menu
    assert choice.error >= choice.bound * (1 - 1e-4)


def test_a_whole_bucket_wins_where_frames_cannot() -> None:
    """With four ranks a frame goes to three peers, which is twice what an all-reduce of the same bytes sends."""
    model = heavy_model(10, seed=7, bucket_layers=3, world_size=4)
    menu = model.menu(10e9)
    budget_s = 0.9 * model.dense_s(10e9)
    optimum = integer_optimum(menu, budget_s, seconds=4)
    choice = Lagrangian().solve(menu, budget_s)
    assert (choice.whole >= 0).any()
    assert choice.bound <= optimum * (1 + 1e-6)
    assert choice.error <= optimum * 1.01


BYTES_AN_ENTRY = 8.0


def sparse_menu(model: Model) -> Menu:
    """Top-k alone, at one price an entry and nothing a layer."""
    layers, columns = len(model.layers), 1 + len(DENSITIES)
    k = np.zeros((layers, columns), np.int64)
    error = np.empty((layers, columns))
    for i, curve in enumerate(model.curves):
        k[i, 1:] = np.ceil(DENSITIES * curve.numel)
        error[i] = curve.total - curve.kept(k[i])
    whole = np.full((len(model.buckets), 1), 1e300)
    return Menu(
        link_s=BYTES_AN_ENTRY * k.astype(np.float64),
        coding_s=np.zeros(k.shape),
        error=error,
        k=k,
        starts=model.maker.starts,
        whole_link_s=whole,
        whole_coding_s=np.zeros(whole.shape),
        whole_error=whole,
        total=sum(c.total for c in model.curves),
        next_column=np.array([*range(1, columns), -1]),
        dense=np.zeros(columns, bool),
        seconds=lambda layer, column, kept: (BYTES_AN_ENTRY * kept, 0.0),
    )


def lost(model: Model, choice: Choice) -> float:
    """True squared error of keeping the k largest of every layer."""
    each = zip(model.values, choice.k.tolist(), strict=True)
    return sum(float(np.sort(v * v)[: v.size - k].sum()) for v, k in each)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1])
def test_of_top_k_alone_the_best_is_one_threshold_for_all_layers(share: float) -> None:
    model = heavy_model(62)
    entries = int(share * sum(v.size for v in model.values) / 2)
    choice = Lagrangian().solve(sparse_menu(model), BYTES_AN_ENTRY * entries)
    everything = np.sort(np.concatenate([v * v for v in model.values]))
    best = float(everything[: everything.size - entries].sum())
    assert int(choice.k.sum()) <= entries
    assert best * (1 - 1e-9) <= lost(model, choice) <= best * 1.005
    assert lost(model, choice) <= choice.error * (1 + 1e-9)  # curves are chords, from above
