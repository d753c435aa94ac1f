"""The order in which experts move, and the two clocks on which they do."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from examples.moe.config import ModelConfig
from examples.moe.inference.cache import Cache, CacheError
from examples.moe.inference.layout import Key, Manifest, StoreError, as_bytes, pack
from examples.moe.inference.link import Meter, Pacer, transfer_s
from examples.moe.inference.loader import Loader
from examples.moe.inference.policies.global_lru import GlobalLru
from examples.moe.inference.store import MemoryStore, Store
from examples.moe.inference.thread_loader import ThreadLoader
from examples.moe.inference.transfers import PIECE_BYTES, Job, Transfers
from examples.moe.inference.virtual_loader import VirtualLoader
from examples.moe.model import LanguageModel
from kimad.trace import parse_link

PIECES = 3  # of an expert here
SIZE = ModelConfig(layers=2, width=96, heads=2, hidden=256, experts=6, context=16)


@pytest.fixture(scope="module")
def packed() -> tuple[Manifest, torch.Tensor]:
    torch.manual_seed(0)
    manifest, flat = pack(LanguageModel(SIZE))
    assert -(-manifest.expert_bytes // PIECE_BYTES) == PIECES
    return manifest, flat


def move(transfers: Transfers, pieces: int = 1) -> list[Key]:
    """Move so many pieces one after the other; returns whose they were."""
    moved = []
    for _ in range(pieces):
        job = transfers.next()
        if job is None:
            break
        finish(transfers, job)
        moved.append(job.key)
    return moved


def finish(transfers: Transfers, job: Job) -> None:
    if transfers.moved(job, transfers.piece(job)):
        transfers.arrived(job)


def make(slots: int) -> Transfers:
    return Transfers(Cache(slots, GlobalLru()), PIECES * PIECE_BYTES)


def test_a_demand_interrupts_what_is_loaded_ahead_and_that_goes_on_afterwards() -> None:
    transfers = make(3)
    transfers.load_ahead([(1, 0), (1, 1)])
    assert move(transfers) == [(1, 0)]
    transfers.demand([(0, 5)])
    assert move(transfers, 5) == [(0, 5)] * 3 + [(1, 0)] * 2
    assert sorted(transfers.cache.resident) == [(0, 5), (1, 0)]
    assert transfers.cache.counts.ahead == 1


def test_a_stale_load_is_given_up_and_its_slot_is_free() -> None:
    transfers = make(1)
    transfers.load_ahead([(1, 0)])
    move(transfers)
    transfers.load_ahead([(1, 1)])
    assert (transfers.cancelled, transfers.cancelled_bytes) == (1, PIECE_BYTES)
    assert transfers.cache.loading == {}
    assert move(transfers, 4) == [(1, 1)] * 3
    assert list(transfers.cache.resident) == [(1, 1)]


def test_a_slot_that_is_being_written_to_is_not_given_away() -> None:
    transfers = make(1)
    transfers.load_ahead([(1, 0)])
    job = transfers.next()
    assert job is not None
    transfers.demand([(0, 3)])
    assert transfers.next() is None, "the piece on the link writes to the only slot"
    assert job.cancelled
    finish(transfers, job)
    assert transfers.cancelled_bytes == PIECE_BYTES
    assert move(transfers, 3) == [(0, 3)] * 3


def test_a_load_that_was_given_up_is_taken_back_when_it_is_needed_after_all() -> None:
    transfers = make(2)
    transfers.load_ahead([(1, 0)])
    job = transfers.next()
    assert job is not None
    transfers.load_ahead([])
    assert job.cancelled
    transfers.demand([(1, 0)])
    finish(transfers, job)
    assert move(transfers, 2) == [(1, 0)] * 2
    assert (transfers.cancelled, transfers.cancelled_bytes, transfers.cache.counts.ahead) == (0, 0, 0)


def test_what_only_waits_holds_no_slot() -> None:
    transfers = make(2)
    transfers.load_ahead([(1, e) for e in range(6)])
    move(transfers)
    assert len(transfers.cache.loading) == 1
    transfers.demand([(0, 0), (0, 1)])
    assert move(transfers, 3) == [(0, 0)] * 3
    assert move(transfers, 3) == [(0, 1)] * 3, "the begun load gives its slot up for a demand"
    assert transfers.cancelled == 1


def test_everything_pinned_waits_and_then_finishes() -> None:
    transfers = make(1)
    transfers.demand([(0, 0)])
    move(transfers, PIECES)
    assert transfers.cache.pinned == {(0, 0)}, "from its arrival on, or the next one might evict it"
    transfers.demand([(0, 1)])
    assert transfers.next() is None
    transfers.cache.unpin((0, 0))
    assert move(transfers, PIECES) == [(0, 1)] * PIECES


@pytest.fixture(params=["virtual", "thread"])
def loader(request: pytest.FixtureRequest, packed: tuple[Manifest, torch.Tensor]) -> Iterator[Loader]:
    made = make_loader(request.param, MemoryStore(*packed), 3)
    yield made
    made.close()


def make_loader(kind: str, store: Store, slots: int) -> Loader:
    cache = Cache(slots, GlobalLru())
    link = parse_link("const:800")
    return VirtualLoader(store, cache, slots, link) if kind == "virtual" else ThreadLoader(store, cache, slots, link)


def test_what_is_loaded_is_the_expert_and_its_bytes_are_counted(
    loader: Loader, packed: tuple[Manifest, torch.Tensor]
) -> None:
    needed = [(1, e) for e in range(6)]  # twice the slots
    pending, hits = loader.enter(1, needed)
    assert hits == []
    while pending:
        ready = loader.take(pending)
        if not ready:
            loader.wait(pending)
        for key in ready:
            assert torch.equal(loader.weights(key), packed[1][loader.store.manifest.index(key)])
            loader.release(key, used=True)
            pending.remove(key)
        assert len(loader.cache.resident) + len(loader.cache.loading) <= 3
    assert loader.meter.bytes == loader.store.bytes_read == 6 * loader.store.manifest.expert_bytes
    assert loader.stall_s > 0


def test_a_wait_for_what_was_never_asked_for_is_an_error_and_no_hang(loader: Loader) -> None:
    with pytest.raises(CacheError, match="can ever be loaded"):
        loader.wait([(0, 0)])


def test_an_expert_that_is_not_pinned_is_not_given_out(loader: Loader) -> None:
    loader.enter(0, [(0, 0)])
    loader.wait([(0, 0)])
    loader.release((0, 0), used=True)
    with pytest.raises(CacheError, match="not pinned"):
        loader.weights((0, 0))


class BrokenStore(Store):
    """Fails, or hands out what is not the expert."""

    def __init__(self, manifest: Manifest, fails: bool) -> None:
        super().__init__(manifest)
        self.fails = fails

    def read(self, key: Key, offset: int, into: memoryview) -> None:
        if self.fails:
            raise StoreError("the server went away")
        into[:] = bytes(len(into))
        self.bytes_read += len(into)


@pytest.mark.parametrize("kind", ["virtual", "thread"])
@pytest.mark.parametrize(("fails", "message"), [(True, "went away"), (False, "is altered")])
def test_an_error_of_the_store_reaches_the_caller(
    kind: str, fails: bool, message: str, packed: tuple[Manifest, torch.Tensor]
) -> None:
    loader = make_loader(kind, BrokenStore(packed[0], fails), 2)
    loader.enter(0, [(0, 0)])
    with pytest.raises(StoreError, match=message):
        loader.wait([(0, 0)])
    loader.close()


def test_the_virtual_clock_is_exact(packed: tuple[Manifest, torch.Tensor]) -> None:
    """196608 bytes at 800 Mbit/s take 1.966 ms; computing for 1 ms hides as much of it."""
    loader = make_loader("virtual", MemoryStore(*packed), 2)
    whole_s = 8 * packed[0].expert_bytes / 800e6
    loader.enter(0, [(0, 0)])
    loader.spend(1e-3)
    loader.wait([(0, 0)])
    assert loader.now_s() == pytest.approx(whole_s)
    assert loader.stall_s == pytest.approx(whole_s - 1e-3)
    loader.spend(5e-3)
    loader.enter(0, [(0, 1)])
    loader.wait([(0, 1)])
    assert loader.now_s() == pytest.approx(2 * whole_s + 5e-3), "an idle link saves nothing up"
    assert loader.meter.busy_s == pytest.approx(2 * whole_s)


def test_the_forecast_is_the_rate_of_the_link(packed: tuple[Manifest, torch.Tensor]) -> None:
    loader = make_loader("virtual", MemoryStore(*packed), 2)
    assert loader.meter.low_bps(0.0) is None
    for i in range(20):
        loader.enter(i % 2, [(i % 2, i % 6)])
        loader.wait([(i % 2, i % 6)])
        loader.release((i % 2, i % 6), used=True)
    low_bps = loader.meter.low_bps(loader.now_s())
    assert low_bps is not None
    assert 0.8 * 800e6 <= low_bps <= 1.01 * 800e6


def test_a_piece_waits_while_the_link_carries_nothing() -> None:
    link = parse_link("outage:8,10,2")
    dead_s = next(t / 10 for t in range(200) if link.mbps(t / 10) == 0)
    assert transfer_s(link, 1_000_000, dead_s) > 1.0
    assert transfer_s(parse_link("const:8"), 1_000_000, 0.0) == pytest.approx(1.0)


def test_the_pacer_holds_back_to_the_rate_and_bytes_are_summed() -> None:
    pacer = Pacer(parse_link("const:80"))
    start_s = time.monotonic()
    for _ in range(4):
        pacer.wait(50_000, time.monotonic())
    assert time.monotonic() - start_s >= 4 * 8 * 50_000 / 80e6 - 1e-3
    meter = Meter()
    meter.moved(10, 0.0, 1.0)
    meter.moved(20, 1.0, 1.5)
    assert (meter.bytes, meter.busy_s) == (30, 1.5)


def test_a_closed_loader_leaves_no_thread(packed: tuple[Manifest, torch.Tensor]) -> None:
    before = threading.active_count()
    loader = make_loader("thread", MemoryStore(*packed), 2)
    loader.transfers.load_ahead([(0, 0)])
    loader.close()
    assert threading.active_count() == before


def test_views_write_to_the_slot() -> None:
    flat = torch.zeros(4)
    as_bytes(flat)[0:4] = b"\x00\x00\x80\x3f"
    assert flat.tolist() == [1.0, 0.0, 0.0, 0.0]
