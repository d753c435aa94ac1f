"""Text from a prompt, with as many experts in fast memory as a limit allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from examples.moe.errors import MoeError
from examples.moe.inference.cache import Cache
from examples.moe.inference.engine import Engine
from examples.moe.inference.file_store import FileStore
from examples.moe.inference.folder import EXPERTS, load_dense, load_paths
from examples.moe.inference.path_model import LearnedPaths
from examples.moe.inference.policies.budgeted import Budgeted
from examples.moe.inference.policies.global_lru import GlobalLru
from examples.moe.inference.policies.interface import Policy
from examples.moe.inference.policies.lfu import Lfu
from examples.moe.inference.policies.lru import LayerLru
from examples.moe.inference.policies.predictive import Predictive
from examples.moe.inference.store import Store
from examples.moe.inference.tcp_store import TcpStore
from examples.moe.inference.thread_loader import ThreadLoader
from kimad.trace import Link

MB = 1_000_000
POLICIES: dict[str, Callable[[int, int, int], Policy]] = {
    "budgeted": lambda slots, layers, experts: Budgeted(layers, experts),
    "predictive": lambda slots, layers, experts: Predictive(),
    "lru": lambda slots, layers, experts: LayerLru(slots, layers),
    "global-lru": lambda slots, layers, experts: GlobalLru(),
    "lfu": lambda slots, layers, experts: Lfu(),
}


@dataclass(frozen=True)
class Report:
    """What decoding needed and moved."""

    new: int  # bytes said
    seconds: float
    stall_s: float  # of these, waiting for experts
    slots: int
    slots_bytes: int
    all_bytes: int  # of all experts
    needed: int
    hits: int
    loaded: int
    moved_bytes: int
    wasted_bytes: int
    recall: float
    precision: float


def slots_for(memory_mb: float, expert_bytes: int, layers: int, all_experts: int) -> int:
    """Experts that fit; no more than there are. Raises MoeError where they are fewer than the layers."""
    room, needed_mb = memory_mb * MB / expert_bytes, layers * expert_bytes / MB
    if not room >= layers:  # not a number is refused as well
        raise MoeError(f"--memory-mb is {memory_mb:g}; one expert a layer needs {needed_mb:.4g} or more")
    return int(min(room, all_experts))


def generate(
    folder: Path, prompt: bytes, new: int, memory_mb: float, policy: str, link: Link | None,
    server: tuple[str, int] | None, on_byte: Callable[[int], None],
) -> Report:  # fmt: skip
    """Say `new` bytes after the prompt, and call `on_byte` with each.

    Raises:
        MoeError: of the prompt, the limit, the folder, the store.
    """
    model, paths = load_dense(folder), load_paths(folder)
    store: Store = TcpStore(*server) if server else FileStore(folder / EXPERTS)
    try:
        manifest, config = store.manifest, store.manifest.config
        if config != model.config:
            raise MoeError(f"the experts are of another model: {config}; here: {model.config}")
        slots = slots_for(memory_mb, manifest.expert_bytes, config.layers, len(manifest.checksums))
        loader = ThreadLoader(store, Cache(slots, POLICIES[policy](slots, config.layers, config.experts)), slots, link)
        try:
            engine = Engine(model, loader, LearnedPaths(paths), on_token=lambda row, token: on_byte(token))
            begin_s = loader.now_s()
            engine.decode([list(prompt)], new, batches=1)
            seconds = loader.now_s() - begin_s
        finally:
            loader.close()
    finally:
        store.close()
    counts, arrived, size = engine.counts, loader.cache.counts, manifest.expert_bytes
    return Report(
        new, seconds, loader.stall_s, slots, slots * size, len(manifest.checksums) * size, counts.needed, counts.hits,
        arrived.loaded, loader.meter.bytes,
        loader.transfers.cancelled_bytes + size * (arrived.ahead - arrived.ahead_used),
        counts.rightly / counts.needed, counts.rightly / max(1, counts.predicted),
    )  # fmt: skip


def as_text(report: Report) -> str:
    """The report for people."""
    return (
        f"{report.new} bytes in {report.seconds:.2f} s, {report.stall_s:.2f} s of them waiting for experts\n"
        f"experts in {report.slots_bytes / MB:.2f} MB of {report.all_bytes / MB:.2f} MB ({report.slots} slots)\n"
        f"needed {report.needed}, hit {report.hits}, missed {report.needed - report.hits}; loaded {report.loaded}: "
        f"{report.moved_bytes / MB:.2f} MB moved, {report.wasted_bytes / MB:.2f} MB wasted\n"
        f"predicted: recall {report.recall:.2f}, precision {report.precision:.2f}"
    )
