"""One decoding, measured on the virtual clock: real bytes, real predictions, worked-out time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from examples.moe.bench.setting import Setting
from examples.moe.config import VOCABULARY
from examples.moe.inference.cache import Cache
from examples.moe.inference.engine import Engine
from examples.moe.inference.path_model import LearnedPaths
from examples.moe.inference.policies.budgeted import Budgeted
from examples.moe.inference.policies.global_lru import GlobalLru
from examples.moe.inference.policies.interface import Policy
from examples.moe.inference.policies.lfu import Lfu
from examples.moe.inference.policies.lru import LayerLru
from examples.moe.inference.policies.predictive import Predictive
from examples.moe.inference.policies.static import Static
from examples.moe.inference.policies.whole_layer import WholeLayer
from examples.moe.inference.predictor import Oracle, Predictor, PreviousToken, TokenTable
from examples.moe.inference.resident import Decoded
from examples.moe.inference.store import MemoryStore
from examples.moe.inference.virtual_loader import VirtualLoader
from kimad.trace import Link

POLICIES: dict[str, Callable[[Setting, int], Policy]] = {
    "lru": lambda s, slots: LayerLru(slots, s.model.config.layers),
    "global-lru": lambda s, slots: GlobalLru(),
    "lfu": lambda s, slots: Lfu(),
    "static": lambda s, slots: Static(slots, s.usage()),
    "whole-layer": lambda s, slots: WholeLayer(slots, s.model.config.layers, s.model.config.experts),
    "predictive": lambda s, slots: Predictive(),
    "values": lambda s, slots: Budgeted(s.model.config.layers, s.model.config.experts, ahead=False),
    "budgeted": lambda s, slots: Budgeted(s.model.config.layers, s.model.config.experts),
}
PREDICTED = ("predictive", "values", "budgeted")  # the others never ask


@dataclass(frozen=True)
class Row:
    """What one decoding did."""

    policy: str
    predictor: str
    schedule: str
    slots: int
    link: str
    tokens_per_s: float  # prompts included
    stall_share: float  # of all time
    hit_share: float  # of needed experts, resident when their layer was routed
    moved_bytes: int  # counted at the link
    wasted_bytes: int  # of these, for loads that were given up or never used
    recall: float  # of needed experts, predicted (the k most probable of every token)
    precision: float  # of predicted experts, needed
    loaded_over_needed: float  # predicted experts for each needed one
    active: float  # experts a layer and batch
    identical: bool  # logits, bit for bit those of the resident model


def predictor_of(setting: Setting, name: str, truth: Decoded | None) -> Predictor | None:
    """A predictor by its name; the oracle reads the paths of `truth`."""
    c = setting.model.config
    if name == "transformer":
        return LearnedPaths(setting.paths)
    if name == "token-table":
        return TokenTable(setting.profile.tokens.flatten(), setting.profile.paths.flatten(0, 1), VOCABULARY, c.experts)
    if name == "previous-token":
        return PreviousToken(c.layers, c.experts)
    if name == "oracle" and truth is not None:
        return Oracle(torch.stack(truth.paths), c.experts)
    return None


def run(
    setting: Setting, policy: str, slots: int, link: Link, prompts: Sequence[Sequence[int]], truth: Decoded,
    predictor: str = "transformer", schedule: str = "none",
) -> Row:  # fmt: skip
    """Decode two batches in turn. A predictor is only asked where the policy or the schedule uses it."""
    name = predictor if policy in PREDICTED or schedule != "none" else "none"
    made = POLICIES[policy](setting, slots)
    loader = VirtualLoader(MemoryStore(setting.manifest, setting.experts), Cache(slots, made), slots, link)
    engine = Engine(setting.model, loader, predictor_of(setting, name, truth), setting.costs)
    found = engine.decode(prompts, setting.sizes.new, batches=2, method=schedule)
    counts, arrived = engine.counts, loader.cache.counts
    size = setting.manifest.expert_bytes
    return Row(
        policy=policy,
        predictor=name,
        schedule=schedule,
        slots=slots,
        link=str(link),
        tokens_per_s=counts.tokens / loader.now_s(),
        stall_share=loader.stall_s / loader.now_s(),
        hit_share=counts.hits / counts.needed,
        moved_bytes=loader.meter.bytes,
        wasted_bytes=loader.transfers.cancelled_bytes + size * (arrived.ahead - arrived.ahead_used),
        recall=counts.rightly / counts.needed,
        precision=counts.rightly / max(1, counts.predicted),
        loaded_over_needed=counts.predicted / counts.needed,
        active=counts.needed / counts.visits,
        identical=found.tokens == truth.tokens
        and all(torch.equal(a, b) for a, b in zip(found.logits, truth.logits, strict=True)),
    )
