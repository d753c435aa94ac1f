"""Waiting side by side: all run to their end, and an error comes back with its number."""

from __future__ import annotations

import threading
import weakref
from functools import partial

import pytest

from kimad.waiters import Waiters

HANG_S = 30.0


@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_all_are_run(most: int, count: int) -> None:
    waiters, seen = Waiters(most), list[int]()
    for _ in range(3):
        assert waiters.run([partial(seen.append, i) for i in range(count)]) is None
    assert sorted(seen) == sorted(3 * list(range(count)))
    waiters.close()
    waiters.close()


def test_they_wait_at_the_same_time() -> None:
    waiters, together = Waiters(8), threading.Barrier(4, timeout=HANG_S)

    def meet() -> None:
        together.wait()

    assert waiters.run([meet] * 4) is None
    waiters.close()


@pytest.mark.parametrize("failing", [0, 2, 3])
def test_an_error_is_handed_back_when_all_are_done(failing: int) -> None:
    waiters, seen = Waiters(8), list[int]()

    def wait(i: int) -> None:
        if i == failing:
            raise RuntimeError(f"peer {i}")
        seen.append(i)

    found = waiters.run([partial(wait, i) for i in range(4)])
    assert found is not None
    assert (found[0], str(found[1])) == (failing, f"peer {failing}")
    assert len(seen) == 3
    waiters.close()


def test_nothing_is_kept_alive() -> None:
    """What a wait holds is a connection, which must close when the exchange has failed."""

    class Held:
        def wait(self) -> None:
            raise RuntimeError("lost")

    waiters, held = Waiters(8), [Held() for _ in range(3)]
    gone = [weakref.ref(one) for one in held]
    found = waiters.run([one.wait for one in held])
    assert found is not None
    del held, found
    assert waiters.run([lambda: None] * 3) is None
    assert [ref() for ref in gone] == [None] * 3
    waiters.close()
