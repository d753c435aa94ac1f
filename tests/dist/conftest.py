"""Persistent ranks for the distributed tests, and the mark that makes them run serially."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dist.ranks import Ranks

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.dist)


@pytest.fixture(scope="module")
def two_ranks(no_leftovers_of_module: None) -> Iterator[Ranks]:
    ranks = Ranks(2)
    yield ranks
    ranks.close()


@pytest.fixture(scope="module")
def three_ranks(no_leftovers_of_module: None) -> Iterator[Ranks]:
    ranks = Ranks(3)
    yield ranks
    ranks.close()


@pytest.fixture(scope="module")
def four_ranks(no_leftovers_of_module: None) -> Iterator[Ranks]:
    ranks = Ranks(4)
    yield ranks
    ranks.close()
