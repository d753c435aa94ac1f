"""The measurements, as rows of figures; nothing here prints."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from examples.moe.bench.runs import POLICIES, Row, run
from examples.moe.bench.setting import Setting
from examples.moe.inference.accuracy import all_scores, batch_overlap, top_accuracy
from examples.moe.inference.cache import Cache
from examples.moe.inference.layout import Key
from examples.moe.inference.policies.belady import Belady
from examples.moe.inference.policies.interface import Policy
from examples.moe.inference.replay import Needs, replay, shuffled
from examples.moe.inference.resident import Decoded
from kimad.trace import Link, parse_link

Table = list[dict[str, Any]]
Progress = Callable[[str], None]
TOP = (1, 3)
DEMAND_ONLY = ("lru", "global-lru", "lfu", "static", "values")


@torch.no_grad()
def held_out_loss(setting: Setting) -> float:
    """Nats a byte of the model on the held-out windows."""
    tokens = setting.test.tokens
    return float(cross_entropy(setting.model(tokens[:, :-1]).logits.flatten(0, 1), tokens[:, 1:].flatten()))


def prediction(setting: Setting) -> Table:
    """Top-1 and top-3 accuracy by layer, and what the union over a batch makes of it."""
    table: Table = []
    for name, scores in all_scores(setting.paths, setting.profile, setting.test).items():
        row: dict[str, Any] = {"predictor": name}
        for n in TOP:
            shares = top_accuracy(scores, setting.test.paths, min(n, scores.shape[-1]))
            row[f"top{n}"] = statistics.mean(shares)
            row[f"top{n}_by_layer"] = shares
        for batch in (1, 8, 16):
            overlap = batch_overlap(scores, setting.test.paths, batch, setting.model.config.chosen)
            row[f"recall_{batch}"] = overlap.recall
            row[f"precision_{batch}"] = overlap.precision
            row[f"loaded_over_needed_{batch}"] = overlap.loaded_over_needed
        table.append(row)
    return table


def needs_of(setting: Setting, batch: int) -> Needs:
    """What two batches of held-out text need in turn, visit by visit."""
    paths = setting.test.paths[: 2 * batch]
    needs: list[Sequence[Key]] = []
    for position in range(paths.shape[1]):
        for half in (paths[:batch], paths[batch:]):
            for layer in range(paths.shape[2]):
                chosen = sorted(set(half[:, position, layer].flatten().tolist()))
                needs.append([(layer, expert) for expert in chosen])
    return needs


def hits(setting: Setting, shares: Sequence[float], batches: Sequence[int]) -> Table:
    """Share of needed experts that are there when nothing is loaded ahead, and the same with the order shuffled."""
    table: Table = []
    layers = setting.model.config.layers
    for batch in batches:
        needs = needs_of(setting, batch)
        mixed = shuffled(needs, layers, seed=0)
        needed = sum(map(len, needs))
        for share in shares:
            slots = slots_of(setting, share)
            row: dict[str, Any] = {"batch": batch, "slots": slots}
            for name in DEMAND_ONLY:
                row[name] = replay(needs, Cache(slots, POLICIES[name](setting, slots))) / needed
            row["belady"] = replay(needs, Cache(slots, Belady(needs))) / needed
            lru: Policy = POLICIES["lru"](setting, slots)
            row["lru_shuffled"] = replay(mixed, Cache(slots, lru)) / needed
            table.append(row)
    return table


def slots_of(setting: Setting, share: float) -> int:
    """Slots that hold this share of all experts, at least one a layer."""
    return max(setting.model.config.layers, round(share * setting.all_slots))


def visit_s(setting: Setting, active: float) -> float:
    """Computing of one layer for one batch that needs so many experts."""
    return setting.costs.dense_s + active * setting.costs.expert_s


def link_for(setting: Setting, loads_per_visit: float, active: float) -> Link:
    """A constant link that brings so many experts while one layer computes."""
    bps = 8 * setting.manifest.expert_bytes * loads_per_visit / visit_s(setting, active)
    return parse_link(f"const:{bps / 1e6:.6g}")


def references(setting: Setting) -> list[tuple[list[list[int]], Decoded]]:
    """For every seed its prompts and what the resident model says to them."""
    out = []
    for seed in setting.sizes.seeds:
        prompts = setting.prompts(seed, 2 * setting.sizes.batch)
        out.append((prompts, setting.reference(prompts)))
    return out


def mean_active(setting: Setting, truth: Decoded) -> float:
    """Experts that a batch of the recorded paths needs in a layer."""
    paths = torch.stack(truth.paths[: setting.sizes.batch]).permute(1, 2, 0, 3).flatten(2)  # [steps, layers, ·]
    return statistics.mean(len(set(visit.tolist())) for visit in paths.flatten(0, 1))


def mean_row(rows: Sequence[Row]) -> dict[str, Any]:
    """Medians over seeds of what varies; identical only if all are."""
    first = rows[0]
    varied = ("tokens_per_s", "stall_share", "hit_share", "moved_bytes", "wasted_bytes", "recall", "precision",
              "loaded_over_needed", "active")  # fmt: skip
    medians = {name: statistics.median(getattr(row, name) for row in rows) for name in varied}
    return {
        "policy": first.policy, "predictor": first.predictor, "schedule": first.schedule, "slots": first.slots,
        "link": first.link, **medians, "identical": all(row.identical for row in rows), "seeds": len(rows),
    }  # fmt: skip


def decoding(
    setting: Setting, share: float, loads: Sequence[float], policies: Sequence[tuple[str, str]], progress: Progress
) -> Table:
    """Policies (with their predictors) side by side at one size of fast memory, over links slow to fast.

    Whole layers get the memory that they need, whatever the share. Every row names its gain over "lru" on that link.
    """
    table: Table = []
    told = references(setting)
    active = mean_active(setting, told[0][1])
    for rate in loads:
        link = link_for(setting, rate, active)
        base: dict[str, Any] = {}
        for policy, predictor in policies:
            slots = slots_of(setting, share)
            if policy == "whole-layer":
                slots = max(slots, 2 * setting.model.config.experts)
            rows = [run(setting, policy, slots, link, prompts, truth, predictor) for prompts, truth in told]
            row = {"loads_per_visit": rate, "share": slots / setting.all_slots, **mean_row(rows)}
            base = base or row
            row["speed_over_lru"] = row["tokens_per_s"] / base["tokens_per_s"]
            row["bytes_over_lru"] = row["moved_bytes"] / base["moved_bytes"]
            table.append(row)
            progress(f"decoding: {100 * share:g} % of the experts, {rate:g} loads a visit, {policy}")
    return table


def scheduling(setting: Setting, share: float, loads: Sequence[float], progress: Progress) -> Table:
    """The budgeted policy with and without splitting the two batches anew at every step."""
    table: Table = []
    told = references(setting)
    active = mean_active(setting, told[0][1])
    slots = slots_of(setting, share)
    for rate in loads:
        link = link_for(setting, rate, active)
        base: dict[str, Any] = {}
        for schedule in ("none", "kmeans", "swap"):
            rows = [run(setting, "budgeted", slots, link, prompts, truth, schedule=schedule) for prompts, truth in told]
            row = {"loads_per_visit": rate, **mean_row(rows)}
            base = base or row
            row["active_over_none"] = row["active"] / base["active"]
            row["speed_over_none"] = row["tokens_per_s"] / base["tokens_per_s"]
            table.append(row)
            progress(f"scheduling: {rate:g} loads a visit, {schedule}")
    return table
