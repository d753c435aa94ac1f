"""What other models of a process received beside one's own."""

from __future__ import annotations

import threading

import pytest

from kimad.monitor import Interval
from kimad.traffic import PIECES, Traffic

OWN, OTHER, THIRD = 1, 2, 3


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([], 0.0),
        ([(0.0, 1.0)], 0.0),  # before it
        ([(1.0, 3.0)], 100.0),
        ([(2.0, 9.0)], 50.0),
        ([(1.5, 2.0), (1.75, 2.5), (8.0, 9.0)], 50.0),  # the union counts
        ([(3.0, 4.0)], 0.0),
    ],
)
def test_a_piece_counts_as_far_as_it_came_at_the_same_time(intervals: list[Interval], expected: float) -> None:
    traffic = Traffic()
    traffic.arrived(OTHER, 100, 1.0, 3.0)
    assert traffic.beside(OWN, intervals) == pytest.approx(expected)


def test_own_pieces_do_not_count_and_all_others_do() -> None:
    traffic = Traffic()
    for owner, size in ((OWN, 1), (OTHER, 10), (THIRD, 100)):
        traffic.arrived(owner, size, 0.0, 1.0)
    assert traffic.beside(OWN, [(0.0, 1.0)]) == 110
    assert traffic.beside(THIRD, [(0.0, 1.0)]) == 11


def test_a_piece_that_took_no_time() -> None:
    traffic = Traffic()
    traffic.arrived(OTHER, 100, 2.0, 2.0)
    assert traffic.beside(OWN, [(1.0, 3.0)]) == 100
    assert traffic.beside(OWN, [(2.5, 3.0)]) == 0


def test_the_earliest_are_forgotten() -> None:
    traffic = Traffic()
    for i in range(PIECES + 5):
        traffic.arrived(OTHER, 1, float(i), i + 1.0)
    assert traffic.beside(OWN, [(0.0, 1e9)]) == PIECES


def test_told_from_several_threads() -> None:
    traffic, asked = Traffic(), list[float]()

    def tell(owner: int) -> None:
        for i in range(2000):
            traffic.arrived(owner, 1, float(i), i + 1.0)
            if i % 100 == 0:
                asked.append(traffic.beside(OWN, [(0.0, 2000.0)]))

    threads = [threading.Thread(target=tell, args=(owner,)) for owner in (OTHER, THIRD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert traffic.beside(OWN, [(0.0, 2000.0)]) == pytest.approx(4000)
    assert len(asked) == 40
