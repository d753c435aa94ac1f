"""How sorted indices are written: every code gives them back, and the smallest is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kimad.compressors import elias_fano, index_code, strata
from kimad.compressors.errors import BadIndexCode, BadIndices, CountMismatch
from kimad.compressors.index_code import BITMAP, DENSE, SEEDED, WORDS, WORDS_N
from tests.compressors.cases import DERANDOMIZED

ELIAS_FANO = range(elias_fano.MAX_LOW_BITS + 1)
Indices = NDArray[np.int32]


def there_and_back(indices: Indices, n: int, code: int, key: int = 0) -> Indices:
    body = np.full(index_code.body_bytes(n, indices.size, code), 0xA5, np.uint8)
    before = indices.copy()
    index_code.encode(indices, n, code, key, body)
    assert np.array_equal(indices, before)
    index_code.check(n, indices.size, code)
    return index_code.decode(body, n, indices.size, code)


def codes(n: int, k: int) -> list[int]:
    """All that can hold any k indices below n."""
    return [*ELIAS_FANO, BITMAP, *([WORDS] if n <= WORDS_N else []), *([DENSE] if k == n else [])]


@DERANDOMIZED
@given(st.integers(1, 100_000), st.floats(0, 1), st.sampled_from([*ELIAS_FANO, BITMAP, WORDS]), st.integers(0, 999))
def test_indices_come_back(n: int, density: float, code: int, seed: int) -> None:
    if code == WORDS:
        n = min(n, WORDS_N)
    rng = np.random.default_rng(seed)
    k = max(1, int(density**3 * n))
    indices = np.sort(rng.choice(n, k, replace=False)).astype(np.int32)
    indices[-1] = n - 1
    assert np.array_equal(there_and_back(indices, n, code), indices)


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 255, 256, 257, 4095, 4096, 4097, 65_535, 65_536, 65_537])
def test_first_last_one_and_all(n: int) -> None:
    every = np.arange(n, dtype=np.int32)
    for chosen in (every[:1], every[-1:], every[[0, -1]] if n > 1 else every, every[1:] if n > 1 else every, every):
        for code in codes(n, chosen.size):
            if code > 8 or n < 5000:  # the high parts of the last ones are long
                assert np.array_equal(there_and_back(chosen, n, code), chosen), (code, chosen.size)


@pytest.mark.parametrize("n", [2**31 - 1, 2**31 - 2**16])
@pytest.mark.parametrize("low_bits", [12, 16, 17, 23, 30])
def test_indices_up_to_the_largest(n: int, low_bits: int) -> None:
    indices = np.array([0, 1, 2**16, n // 2, n - 2, n - 1], np.int32)
    assert np.array_equal(there_and_back(indices, n, low_bits), indices)


def test_seeded_places_follow_from_the_key_that_is_sent() -> None:
    for key in (0, 1, 2**63 + 5, 2**64 - 1):
        places = strata.places(key, 5000, 70)
        assert np.array_equal(there_and_back(places.astype(np.int32), 5000, SEEDED, key), places)
    assert index_code.body_bytes(5000, 70, SEEDED) == 8


@pytest.mark.parametrize("run", [True, False])
def test_the_best_is_the_smallest(run: bool) -> None:
    """Against all codes, for tensors and counts of every order; the smallest size is what counts, not which code."""
    rng = np.random.default_rng(0)
    lengths = [1, 2, 3, 10, 63, 64, 65, 1000, 4096, 65_535, 65_536, 65_537, 123_457, 2_359_296, 2**31 - 1]
    lengths += (2 ** rng.uniform(0, 31, 60)).astype(int).tolist()
    for n in lengths:
        counts = {1, min(n, 2), min(n, 63), min(n, 64), max(1, n - 1), n, max(1, n // 2), max(1, n // 32)}
        counts |= {max(1, int(n ** rng.uniform(0, 1))) for _ in range(20)}
        for k in counts:
            sizes = [index_code.body_bytes(n, k, code) for code in codes(n, k) if code != DENSE or run]
            assert index_code.body_bytes(n, k, index_code.best(n, k, run)) == min(sizes), (n, k)


def test_sizes_by_hand() -> None:
    assert [index_code.body_bytes(1000, 0, code) for code in (0, 30, BITMAP, WORDS, DENSE, SEEDED)] == [0] * 6
    assert index_code.body_bytes(1001, 5, BITMAP) == 126
    assert index_code.body_bytes(1001, 5, WORDS) == 10
    assert index_code.body_bytes(1001, 1001, DENSE) == 0
    # 59 + 600 // 16 + 1 bits of high parts, and 59 nibbles
    assert index_code.body_bytes(600, 59, 4) == 13 + 30


@pytest.mark.parametrize(
    ("error", "n", "k", "code", "says"),
    [
        (BadIndexCode, 65_537, 5, WORDS, "16-bit indices of a tensor with 65537 entries, allowed are 65536"),
        (BadIndexCode, 100, 5, 31, "index code 31, allowed are 0 to 30 and 32 to 35"),
        (BadIndexCode, 100, 5, 36, "index code 36"),
        (BadIndexCode, 100, 5, 255, "index code 255"),
        (CountMismatch, 100, 99, DENSE, "a dense run of 99 entries in a tensor that has 100"),
    ],
)
def test_codes_that_cannot_be(error: type[Exception], n: int, k: int, code: int, says: str) -> None:
    with pytest.raises(error, match=says):
        index_code.check(n, k, code)


@pytest.mark.parametrize("code", [0, 3, 8, 13, 30, BITMAP, WORDS])
def test_any_bytes_are_indices_or_refused(code: int) -> None:
    """Never more than announced, never out of order, never beyond the tensor."""
    rng = np.random.default_rng(code)
    n, k = 77, 9
    size = index_code.body_bytes(n, k, code)
    found = 0
    for turn in range(3000):
        good = np.sort(rng.choice(n, k, replace=False)).astype(np.int32)
        body = np.empty(size, np.uint8)
        index_code.encode(good, n, code, 0, body)
        for place, byte in rng.integers(0, 256, (1 + turn % 3, 2)):
            body[place % size] = byte if turn % 2 else body[place % size] ^ 1 << byte % 8
        try:
            indices = index_code.decode(body, n, k, code)
        except BadIndices as error:
            assert str(error)  # noqa: PT017
        except ValueError as error:
            assert type(error).__name__ == "TrailingBytes"  # noqa: PT017
        else:
            found += 1
            assert indices.size == k
            assert (np.diff(indices) > 0).all()
            assert indices[0] >= 0
            assert indices[-1] < n
    assert found < 3000
