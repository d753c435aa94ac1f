"""How predictions are counted: by token, and by batch with recall and precision side by side."""

from typing import Any

import numpy as np
import pytest
import torch

from examples.moe.bench.show import grid
from examples.moe.inference.accuracy import batch_overlap, top_accuracy
from examples.moe.inference.outlook import union_probability
from examples.moe.inference.path_model import path_loss
from examples.moe.inference.predictor import TokenTable, counted


def test_the_best_and_the_three_best_are_counted_by_layer() -> None:
    scores = torch.tensor([[[[0.1, 0.9, 0.5, 0.2], [0.9, 0.1, 0.8, 0.7]]]])  # one token, two layers
    paths = torch.tensor([[[[1], [3]]]])
    assert top_accuracy(scores, paths, 1) == [1.0, 0.0]
    assert top_accuracy(scores, paths, 3) == [1.0, 1.0]


def test_predicting_more_raises_recall_and_costs_precision() -> None:
    torch.manual_seed(0)
    paths = torch.randint(8, (16, 20, 3, 1))
    scores = torch.rand(16, 20, 3, 8).scatter_add_(-1, paths, torch.full((16, 20, 3, 1), 0.5))
    overlaps = [batch_overlap(scores, paths, 4, n) for n in (1, 2, 4, 8)]
    assert [o.recall for o in overlaps] == sorted(o.recall for o in overlaps)
    assert [o.precision for o in overlaps] == sorted((o.precision for o in overlaps), reverse=True)
    assert overlaps[-1].recall == 1.0
    assert overlaps[-1].loaded_over_needed > 2.0
    for overlap in overlaps:
        assert overlap.recall == pytest.approx(overlap.precision * overlap.loaded_over_needed)


def test_a_batch_hides_what_single_tokens_show() -> None:
    """Tokens of one batch that swap their experts are all wrong, and the batch is all right."""
    paths = torch.tensor([0, 1]).view(2, 1, 1, 1)
    scores = torch.eye(2).flip(0).view(2, 1, 1, 2)
    assert top_accuracy(scores, paths, 1) == [0.0]
    assert batch_overlap(scores, paths, 1, 1).recall == 0.0
    assert batch_overlap(scores, paths, 2, 1).recall == 1.0


def test_the_token_table_is_the_share_of_each_expert() -> None:
    tokens = torch.tensor([5, 5, 5, 5, 9])
    paths = torch.tensor([[[0]], [[0]], [[0]], [[2]], [[1]]])
    assert counted(tokens, paths, 10, 3)[5, 0].tolist() == [3.0, 0.0, 1.0]
    table = TokenTable(tokens, paths, 10, 3)
    found = table.step([0, 1], [5, 7], [0, 0])
    assert found[0, 0].argmax() == 0
    assert found.sum(-1) == pytest.approx(1.0)
    assert found[1, 0].tolist() == pytest.approx([0.6, 0.2, 0.2]), "a byte that was never seen goes the usual way"


def test_the_loss_is_smallest_where_the_experts_are_named() -> None:
    paths = torch.tensor([[[1, 2]]])
    right = torch.tensor([[[-9.0, 9.0, 9.0, -9.0]]])
    assert path_loss(right, paths).item() == pytest.approx(np.log(2.0), abs=1e-4)
    assert path_loss(torch.zeros(1, 1, 4), paths).item() == pytest.approx(np.log(4.0))


def test_the_union_is_that_of_independent_tokens() -> None:
    assert union_probability(np.array([[0.5, 0.0, 1.0], [0.5, 0.2, 0.3]])).tolist() == pytest.approx([0.75, 0.2, 1.0])


def test_a_grid_is_aligned_and_nothing_is_a_dash() -> None:
    rows: list[dict[str, Any]] = [{"a": "x", "b": 1.5}, {"a": "long", "b": None}]
    assert grid(rows, [("a", "a", "s"), ("b", "b", ".1f")]).split("\n") == ["a       b", "x     1.5", "long    -"]
