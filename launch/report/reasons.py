"""Decisions in words: which steps changed the plan, what changed before that, and what came of it."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from kimad.launch.summary import size
from kimad.record import LayerRecord, StepRecord

_FACTOR = 1.4  # bytes that grow or shrink by this much are a notable change
_SHARE = 0.1  # so is this share of the layers having another operator
_MOVED = 0.1  # a forecast or a computing time that moves by less did not cause a change
_DENSITY_FACTOR = 1.25  # a density that changes by less is the same for the reader


@final
@dataclass(frozen=True)
class Reason:
    """One notable change of the plan."""

    step: int  # the first that has the new plan
    text: str  # a sentence without its step
    weight: float  # how large the change is: |log of the bytes' factor|, or the share of layers


def reasons(steps: Sequence[StepRecord], most: int = 20) -> tuple[list[Reason], int]:
    """The largest changes of the plan in order of steps, and how many smaller ones were left out.

    A step is compared with the last one that changed notably, so that a slow drift is seen as well.
    """
    found: list[Reason] = []
    anchor = 0
    for i in range(1, len(steps)):
        weight = change(steps[anchor], steps[i])
        if weight > 0:
            found.append(Reason(steps[i].step, sentence(steps, anchor, i), weight))
            anchor = i
    kept = sorted(sorted(found, key=lambda reason: -reason.weight)[:most], key=lambda reason: reason.step)
    return kept, len(found) - len(kept)


def change(old: StepRecord, new: StepRecord) -> float:
    """How much the plan changed; 0 where it is not worth a sentence."""
    if not old.layers or not new.layers or len(old.layers) != len(new.layers):
        return 0.0
    factor = abs(math.log(max(1, new.wire_bytes) / max(1, old.wire_bytes)))
    share = sum(a.codec != b.codec for a, b in zip(old.layers, new.layers, strict=True)) / len(new.layers)
    return max(factor, share) if factor >= math.log(_FACTOR) or share >= _SHARE else 0.0


def sentence(steps: Sequence[StepRecord], before: int, now: int) -> str:
    """Why the plan of step `now` is not that of `before`, in words."""
    old, new = steps[before], steps[now]
    text = f"{cause(steps, before, now)}, so {effect(old.layers, new.layers)}"
    text += f" and {size(old.wire_bytes)} became {size(new.wire_bytes)}"
    measured_s, predicted_s = new.measured.get("step_s"), new.predicted.get("step_s")
    if predicted_s is not None and measured_s is not None:
        text += f"; predicted {predicted_s:.2f} s, measured {measured_s:.2f} s"
    elif measured_s is not None:
        text += f"; measured {measured_s:.2f} s"
    return f"{text}; {new.why}" if new.why else text


def cause(steps: Sequence[StepRecord], before: int, now: int) -> str:
    """What was known when a plan was made, against what was known for the plan before. A clause."""
    # A plan is made at the end of the step before, on what its record says.
    made_on = [steps[i].link.low_bps for i in range(max(0, before - 1), now)]
    known_bps = [rate_bps for rate_bps in made_on if rate_bps is not None]
    if not known_bps:
        return "nothing was known of the link yet"
    old_bps, new_bps = known_bps[0], known_bps[-1]
    if len(known_bps) == 1 and (before == 0 or made_on[0] is None):
        return f"the link was measured for the first time, at {_mbps(new_bps)}"
    if abs(new_bps / max(old_bps, 1.0) - 1) >= _MOVED:
        verb = "rose" if new_bps > old_bps else "fell"
        return f"the forecast {verb} from {_mbps(old_bps)} to {_mbps(new_bps)}"
    old_s, new_s = (steps[i].predicted.get("compute_s") for i in (before, now))
    if old_s and new_s and abs(new_s / old_s - 1) >= _MOVED:
        return f"computing was expected to take {new_s:.2f} s after {old_s:.2f} s"
    return f"the forecast stayed near {_mbps(new_bps)} and the gradients' error curves changed"


def effect(old: Sequence[LayerRecord], new: Sequence[LayerRecord], most: int = 2) -> str:
    """Which layers went from what to what: the largest groups by layers. A clause."""
    groups: dict[tuple[str, str], list[tuple[LayerRecord, LayerRecord]]] = defaultdict(list)
    for a, b in zip(old, new, strict=True):
        factor = max(a.density, 1e-12) / max(b.density, 1e-12)
        if a.codec != b.codec or not 1 / _DENSITY_FACTOR <= factor <= _DENSITY_FACTOR:
            groups[a.codec, b.codec].append((a, b))
    largest = sorted(groups.values(), key=len, reverse=True)
    if not largest:
        return "densities shifted a little"
    parts = [f"{_layers(len(pairs))} went from {_from_to(pairs)}" for pairs in largest[:most]]
    rest = sum(map(len, largest[most:]))
    return ", ".join([*parts, f"{_layers(rest)} changed otherwise"] if rest else parts)


def codec_words(codec: str, density: float) -> str:
    """An operator and its density for people.

    Example:
        >>> codec_words("topk:log4", 0.02), codec_words("bfloat16", 1.0), codec_words("drop", 0.0)
        ('top-k 2 % (log4)', 'bfloat16', 'dropped')
    """
    operator, _, values = codec.partition(":")
    if operator == "drop":
        return "dropped"
    if operator in ("qsgd", "lowrank"):  # levels or rank behind the name
        return codec.replace(":", " ")
    name = {"topk": "top-k", "randomk": "random-k", "blocktopk": "block top-k"}.get(operator, operator)
    text = f"{name} {percent(density)}" if values or density < 1 else name
    return f"{text} ({values})" if values else text


def percent(share: float) -> str:
    """Two digits, no exponent.

    Example:
        >>> percent(0.32), percent(0.0104), percent(0.00031), percent(1.0)
        ('32 %', '1 %', '0.031 %', '100 %')
    """
    value = 100 * share
    if value <= 0:
        return "0 %"
    digits = max(0, 1 - math.floor(math.log10(value)))
    text = f"{value:.{digits}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"


def _from_to(pairs: Sequence[tuple[LayerRecord, LayerRecord]]) -> str:
    old, new = pairs[0]
    before, after = (statistics.median(pair[side].density for pair in pairs) for side in (0, 1))
    same = old.codec == new.codec
    return f"{codec_words(old.codec, before)} to {percent(after) if same else codec_words(new.codec, after)}"


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _mbps(rate_bps: float) -> str:
    return f"{rate_bps / 1e6:.3g} Mbit/s" if rate_bps < 1e9 else f"{rate_bps / 1e9:.3g} Gbit/s"
