"""A snapshot in words, numbers and bars: what both the terminal and a pipe are shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from kimad.launch.history import Floats
from kimad.launch.summary import size
from kimad.launch.top.snapshot import Group, Snapshot
from kimad.trace.figures import BLOCKS, sparkline

_RATES = {"truth_bps": "true", "sample_bps": "measured", "mean_bps": "forecast", "low_bps": "low quantile",
          "delivery_bps": "TCP"}  # fmt: skip
_STALE_S = 10.0  # without a step, and twice the mean step: worth a word
_ABOVE_TRUTH = 1.5  # where curves are cut off, over the highest true rate
_CURVE = 30  # characters
_BAR = 20  # characters


@final
@dataclass(frozen=True)
class Section:
    """A heading, and rows of equally many cells."""

    title: str
    rows: tuple[tuple[str, ...], ...]


def headline(shot: Snapshot) -> str:
    """Where the run is, in one line."""
    if shot.total is None:
        return {"ended": "ended without a step", "failed": f"failed before its first step: {shot.cause}"}.get(
            shot.state, "waiting: no step yet"
        )
    ending = f": {shot.cause}" if shot.cause else ""
    parts = [f"{shot.state}{ending}", f"step {shot.step}", f"{shot.total.seconds:.1f} s of steps", shot.total.verdict]
    stale_s = max(_STALE_S, 2 * shot.mean_step_s) if math.isfinite(shot.mean_step_s) else _STALE_S
    if shot.age_s is not None and shot.age_s > stale_s and not shot.ended:
        parts.insert(1, f"no step for {shot.age_s:.0f} s")
    return "; ".join(parts)


def brief(shot: Snapshot) -> str:
    """The last step in one line, as it is printed over a pipe."""
    if shot.total is None:
        return headline(shot)
    link = f"link {_mbps(_newest(shot.link.mean_bps))} forecast, {_mbps(_newest(shot.link.sample_bps))} measured"
    if math.isfinite(_newest(shot.link.truth_bps)):
        link += f", {_mbps(_newest(shot.link.truth_bps))} true"
    sent = f"sent {size(_newest(shot.sent_bytes))} of {size(shot.dense_bytes)}"
    return f"step {shot.step}: {shot.step_s:.3f} s ({_prediction(shot)}); {sent}; {link}"


def sections(shot: Snapshot, blocks: str = BLOCKS) -> list[Section]:
    """Everything below the headline; `blocks` are the characters to draw with, from low to high."""
    if shot.total is None:
        return []
    found = [_step(shot, blocks), _link(shot, blocks), _bytes(shot, blocks), _layers(shot)]
    if shot.reason is not None:
        found.append(Section("Last decision", ((shot.reason,),)))
    return found


def _step(shot: Snapshot, blocks: str) -> Section:
    rows = [
        ("last", f"{shot.step_s:.3f} s", _prediction(shot)),
        ("mean of 20", f"{shot.mean_step_s:.3f} s", ""),
    ]
    whole_s = sum(shot.parts_s.values())
    for name, part_s in shot.parts_s.items():
        share = part_s / whole_s if whole_s > 0 else 0.0
        bar = blocks[-1] * round(share * _BAR)
        rows.append((f"  {name}", f"{part_s:.3f} s", f"{share:4.0%} {bar}".rstrip()))
    if not shot.parts_s:
        rows.append(("parts", "-", "not recorded in plain DDP"))
    return Section("Step time", tuple(rows))


def _link(shot: Snapshot, blocks: str) -> Section:
    curves = {label: getattr(shot.link, name) for name, label in _RATES.items()}
    top_bps = max((float(np.nanmax(c)) for c in curves.values() if np.isfinite(c).any()), default=0.0)
    if top_bps == 0.0:
        return Section("Link", (("nothing known",),))
    if np.nanmax(shot.link.truth_bps, initial=0.0) > 0:
        # A few bytes can pass faster than the link is: they must not flatten everything else.
        top_bps = min(top_bps, _ABOVE_TRUTH * float(np.nanmax(shot.link.truth_bps)))
    rows = [
        (label, _mbps(_newest(curve)), spark(curve[-_CURVE:], top_bps, blocks))
        for label, curve in curves.items()
        if np.isfinite(curve).any()
    ]
    return Section(f"Link (curves: 0 to {_mbps(top_bps)})", tuple(rows))


def _bytes(shot: Snapshot, blocks: str) -> Section:
    assert shot.total is not None  # noqa: S101
    total, sent = shot.total, shot.sent_bytes
    factor = shot.dense_bytes / max(1.0, _newest(sent))
    curve = spark(sent[-_CURVE:], float(sent.max()), blocks)
    return Section(
        "Bytes that rank 0 sent",
        (
            ("last step", f"{size(_newest(sent))} of {size(shot.dense_bytes)}", f"{factor:.3g}x"),
            ("all steps", f"{size(total.wire_bytes)} of {size(total.dense_bytes)}", f"{total.compression_factor:.3g}x"),
            ("latest steps", f"0 to {size(float(sent.max()))}", curve),
        ),
    )


def _layers(shot: Snapshot) -> Section:
    if not shot.groups:
        return Section("Layers", (("no decisions by layer: plain DDP",),))
    rows = [("", "layers", "density", "bytes", "codecs")]
    rows += [
        (group.name, str(group.layers), _density(group), size(group.frame_bytes) if group.frame_bytes else "-",
         ", ".join(f"{count} {codec}" for codec, count in group.codecs.items()))
        for group in shot.groups
    ]  # fmt: skip
    return Section("Layers", tuple(rows))


def spark(values: Floats, top: float, blocks: str = BLOCKS) -> str:
    """One character a value, from 0 to `top` and no higher; a space where it is not known."""
    known = np.isfinite(values)
    drawn = sparkline(np.append(np.minimum(np.where(known, values, 0.0), top), top), blocks)[:-1]
    return "".join(mark if there else " " for mark, there in zip(drawn, known, strict=True))


def _density(group: Group) -> str:
    low, high = (f"{100 * share:.3g}" for share in (group.low_density, group.high_density))
    return f"{high} %" if low == high else f"{low} - {high} %"


def _prediction(shot: Snapshot) -> str:
    return f"predicted {shot.predicted_s:.3f} s" if math.isfinite(shot.predicted_s) else "nothing predicted"


def _mbps(rate_bps: float) -> str:
    if not math.isfinite(rate_bps):
        return "-"
    return f"{rate_bps / 1e6:.0f} Mbit/s" if rate_bps >= 100e6 else f"{rate_bps / 1e6:.3g} Mbit/s"


def _newest(values: Floats) -> float:
    return float(values[-1]) if values.size else math.nan
