"""Cache and policies: what may leave, what may not, and who is best."""

from collections.abc import Callable, Collection, Sequence
from typing import final

import numpy as np
import pytest

from examples.moe.errors import MoeError
from examples.moe.inference.cache import Cache, CacheError
from examples.moe.inference.layout import Key
from examples.moe.inference.outlook import Outlook, Visit
from examples.moe.inference.policies.belady import Belady
from examples.moe.inference.policies.budgeted import Budgeted
from examples.moe.inference.policies.global_lru import GlobalLru
from examples.moe.inference.policies.interface import FREE, Policy
from examples.moe.inference.policies.lfu import Lfu
from examples.moe.inference.policies.lru import LayerLru, shares
from examples.moe.inference.policies.predictive import Predictive
from examples.moe.inference.policies.static import Static
from examples.moe.inference.policies.whole_layer import WholeLayer
from examples.moe.inference.replay import replay, shuffled

LAYERS, EXPERTS = 3, 8
DEMAND_ONLY: dict[str, Callable[[int], Policy]] = {
    "lru": lambda slots: LayerLru(slots, LAYERS),
    "global-lru": lambda slots: GlobalLru(),
    "lfu": lambda slots: Lfu(),
    "static": lambda slots: Static(slots, {(layer, e): e for layer in range(LAYERS) for e in range(EXPERTS)}),
    "budgeted": lambda slots: Budgeted(LAYERS, EXPERTS),
    "predictive": lambda slots: Predictive(),
}


def random_needs(seed: int, visits: int = 120, most: int = 5) -> list[list[Key]]:
    """Visits to the layers in turn; some experts are more popular than others."""
    rng = np.random.default_rng(seed)
    popular = rng.dirichlet(np.full(EXPERTS, 0.7), LAYERS) * 0.97 + 0.03 / EXPERTS
    return [
        [
            (i % LAYERS, int(e))
            for e in sorted(rng.choice(EXPERTS, rng.integers(1, most + 1), replace=False, p=popular[i % LAYERS]))
        ]
        for i in range(visits)
    ]


@pytest.mark.parametrize("slots", [3, 5, 10, 17])
@pytest.mark.parametrize("seed", range(4))
def test_belady_hits_at_least_as_often_as_every_other(slots: int, seed: int) -> None:
    needs = random_needs(seed)
    best = replay(needs, Cache(slots, Belady(needs)))
    for name, make in DEMAND_ONLY.items():
        assert replay(needs, Cache(slots, make(slots))) <= best, name


@pytest.mark.parametrize("name", DEMAND_ONLY)
def test_need_greater_than_capacity_still_finishes(name: str) -> None:
    needs = [[(layer, e) for e in range(EXPERTS)] for layer in range(LAYERS)] * 3
    cache = Cache(LAYERS, DEMAND_ONLY[name](LAYERS))
    assert replay(needs, cache) <= 3 * LAYERS * LAYERS
    assert len(cache.resident) <= LAYERS


def test_a_shuffled_trace_keeps_every_layers_visits() -> None:
    needs = random_needs(1)
    mixed = shuffled(needs, LAYERS, seed=2)
    assert mixed != needs
    assert [visit[0][0] for visit in mixed] == [visit[0][0] for visit in needs]
    for layer in range(LAYERS):
        assert sorted(list(v) for v in mixed if v[0][0] == layer) == sorted(v for v in needs if v[0][0] == layer)


def test_what_is_left_over_goes_to_the_first_layers() -> None:
    assert shares(8, 3) == [3, 3, 2]
    policy = LayerLru(8, 3)
    cache = Cache(8, policy)
    for expert in range(8):
        for layer in (2, 0, 1):
            assert cache.place((layer, expert), demand=True) is not None
            cache.complete((layer, expert), ahead=False)
    assert [sum(key[0] == layer for key in cache.resident) for layer in range(3)] == [3, 3, 2]
    assert len(set(cache.resident.values())) == 8, "no slot is held twice"


def test_a_memory_limit_below_one_expert_a_layer_is_refused() -> None:
    with pytest.raises(MoeError, match="2 slots for 3 layers"):
        LayerLru(2, 3)
    with pytest.raises(MoeError, match="0 slots"):
        Cache(0, GlobalLru())
    with pytest.raises(MoeError, match="two layers of 8 experts: 16"):
        WholeLayer(15, LAYERS, EXPERTS)


@final
class Stubborn(Policy):
    """Names one victim, whatever there is."""

    name = "stubborn"

    def __init__(self, victim: Key) -> None:
        self.victim = victim

    def place(self, key: Key, evictable: Sequence[Key], held: Collection[Key], free: int, demand: bool) -> Key | None:
        return FREE if free and self.victim not in held else self.victim


def test_a_pinned_or_loading_or_absent_expert_is_never_evicted() -> None:
    for victim, prepare in {(0, 0): "pin", (0, 1): "load", (0, 7): "absent"}.items():
        cache = Cache(2, Stubborn((9, 9)))
        cache.place((0, 0), demand=True)
        cache.complete((0, 0), ahead=False)
        cache.place((0, 1), demand=True)
        if prepare == "pin":
            cache.pin((0, 0))
        cache.policy.victim = victim  # type: ignore[attr-defined]
        with pytest.raises(CacheError, match="absent, pinned or loading"):
            cache.place((0, 2), demand=True)
        assert (0, 0) in cache.resident
        assert (0, 1) in cache.loading


def test_everything_pinned_or_loading_has_no_place_until_something_is_released() -> None:
    cache = Cache(2, GlobalLru())
    cache.place((0, 0), demand=True)
    cache.complete((0, 0), ahead=False)
    cache.pin((0, 0))
    cache.place((0, 1), demand=True)
    assert cache.place((0, 2), demand=True) is None
    cache.unpin((0, 0))
    assert cache.place((0, 2), demand=True) is not None
    assert sorted(cache.loading) == [(0, 1), (0, 2)]


def test_misuse_of_the_cache_is_named() -> None:
    cache = Cache(1, GlobalLru())
    with pytest.raises(CacheError, match="cannot be pinned"):
        cache.pin((0, 0))
    with pytest.raises(CacheError, match="is not pinned"):
        cache.unpin((0, 0))
    cache.place((0, 0), demand=True)
    with pytest.raises(CacheError, match="there already"):
        cache.place((0, 0), demand=True)


def visits(*probable: list[float]) -> tuple[Visit, ...]:
    return tuple(Visit(layer, np.array(row)) for layer, row in enumerate(probable))


def load_ahead(cache: Cache, outlook: Outlook) -> list[Key]:
    """Load all that the policy wants, as an idle link would."""
    cache.policy.look(outlook)
    for key in cache.policy.ahead(cache.resident.keys(), {}):
        if cache.place(key, demand=False) is not None:
            cache.complete(key, ahead=True)
    return sorted(cache.resident)


def test_the_papers_example_three_and_two_predicted_for_four_slots() -> None:
    """Two layers of four experts and four slots: the nearer layer gets three, the next one the slot that is left."""
    cache = Cache(4, Predictive())
    outlook = Outlook(visits([0.9, 0.8, 0.7, 0.0], [0.0, 0.6, 0.0, 0.9]))
    assert load_ahead(cache, outlook) == [(0, 0), (0, 1), (0, 2), (1, 3)]
    for expert in range(3):  # layer 0 has computed, and its slots take the rest
        cache.pin((0, expert))
        cache.unpin((0, expert))
    assert (1, 1) in load_ahead(cache, Outlook(outlook.visits[1:]))


def test_predictive_never_drops_a_nearer_expert_for_a_later_one() -> None:
    cache = Cache(2, Predictive())
    outlook = Outlook(visits([0.9, 0.8], [0.99, 0.99]))
    assert load_ahead(cache, outlook) == [(0, 0), (0, 1)]
    assert cache.place((1, 0), demand=False) is None
    assert cache.place((1, 0), demand=True) is not None, "but a layer that waits is served"


def budgeted(load_s: float, likely: float = 0.5, begun: dict[Key, float] | None = None) -> list[Key]:
    policy = Budgeted(2, 3, likely)
    policy.look(Outlook(visits([0.9, 0.1, 0.8], [0.7, 0.95, 0.2]), start_s=1.0, visit_s=2.0, load_s=load_s))
    return list(policy.ahead((), begun or {}))


def test_only_what_the_link_can_deliver_in_time_is_loaded_ahead() -> None:
    assert budgeted(0.1) == [(0, 0), (0, 2), (1, 1), (1, 0)], "a fast link brings all that is likely"
    assert budgeted(1.0) == [(0, 0), (1, 1), (1, 0)], "one before the first visit, three by the second"
    assert budgeted(2.0) == [(1, 1)]
    assert budgeted(4.0) == []
    assert budgeted(float("inf")) == [], "nothing is planned on a link that was never measured"
    assert budgeted(2.0, begun={(0, 2): 0.5}) == [(0, 2), (1, 1)], "what was begun goes on, and costs what is missing"
    assert budgeted(0.1, likely=0.85) == [(0, 0), (1, 1)]


def test_an_expert_leaves_only_for_one_that_is_worth_more() -> None:
    cache = Cache(2, Budgeted(2, 3))
    cache.policy.look(Outlook(visits([0.9, 0.1, 0.8], [0.7, 0.95, 0.2]), 1.0, 1.0, 0.1))
    for key in ((0, 0), (0, 1)):
        cache.place(key, demand=True)
        cache.complete(key, ahead=False)
    cache.pin((0, 0))
    assert cache.place((1, 2), demand=False) is not None or (0, 1) in cache.resident
    cache = Cache(1, Budgeted(2, 3))
    cache.policy.look(Outlook(visits([0.9, 0.1, 0.8], [0.7, 0.95, 0.2]), 1.0, 1.0, 0.1))
    cache.place((0, 0), demand=True)
    cache.complete((0, 0), ahead=False)
    assert cache.place((0, 2), demand=False) is None, "0.8 is no reason to drop 0.9"
    assert cache.place((0, 2), demand=True) is not None


def test_what_was_used_of_late_is_kept_where_nothing_is_predicted() -> None:
    policy = Budgeted(1, 4)
    for _ in range(20):
        policy.enter(0)
        policy.used((0, 2))
    policy.enter(0)
    policy.look(Outlook())
    assert policy.place((0, 0), [(0, 1), (0, 2), (0, 3)], [], 0, demand=True) != (0, 2)
    assert policy.place((0, 2), [(0, 1)], [], 0, demand=False) == (0, 1)


def test_whole_layers_require_all_experts_and_load_the_next_one() -> None:
    policy = WholeLayer(16, LAYERS, EXPERTS)
    policy.enter(2)
    assert len(policy.required([(2, 1)])) == EXPERTS
    assert {key[0] for key in policy.ahead((), {})} == {0}
