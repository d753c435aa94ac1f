"""The table, and the figures behind it as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from examples.quadratic.checks import Check
from examples.quadratic.config import Config
from examples.quadratic.experiment import Line, target_round_s
from examples.quadratic.run import Run
from kimad.trace import PaperSine


def record(config: Config, link: PaperSine, run: Run, smoothness: float) -> dict[str, Any]:
    """One tuned run in figures."""
    return {
        "allocation": run.sender.allocation,
        "entries": run.sender.entries,
        "round_s": run.sender.round_s,
        "estimate": None if run.sender.round_s is None else run.sender.estimate,
        "step": run.gamma * smoothness,
        "rounds": len(run.t_s),
        "simulated_s": float(run.t_s[-1]),
        "gap": float(run.gap[-1]),
        "seconds_to": {f"{gap:g}": run.seconds_to(gap) for gap in config.reached},
        "p95_over_target": p95_over_target(run, target_round_s(config, link, run.sender)),
    }


def p95_over_target(run: Run, target_s: float) -> float:
    """The round time that 95 % of the rounds keep, over what a round should take."""
    return float(np.percentile(run.round_s, 95)) / target_s


def table(config: Config, lines: Sequence[Line], smoothness: float) -> str:
    """One link's lines for people."""
    titles = [f"s to {gap:g}" for gap in config.reached]
    text = [f"{'method':<27}{'picked':<22}{'step·L':>7}{'rounds':>8}{titles[0]:>13}{titles[1]:>13}{'p95/target':>12}"]
    for line in lines:
        run = line.run
        times = [run.seconds_to(gap) for gap in config.reached]
        shown = "".join(f"{'not reached' if t is None else f'{t:.1f}':>13}" for t in times)
        p95 = p95_over_target(run, line.target_round_s)
        step = run.gamma * smoothness
        text.append(f"{line.name:<27}{line.picked:<22}{step:>7.2f}{len(run.t_s):>8}{shown}{p95:>12.2f}")
    return "\n".join(text)


def verdicts(checks: Sequence[Check]) -> str:
    """A line a check."""
    what = {1: "mean squared gradient", 2: "last f − f*"}
    return "\n".join(
        f"Theorem {c.theorem}, {c.allocation:<9} bound {'holds' if c.holds else 'VIOLATED'}: "
        f"{what[c.theorem]} {c.value:.4g}, bound {c.bound:.4g}, nearest {c.nearest:.3f} of it; "
        f"alpha {c.alpha:.4f}, kept {c.least_kept:.4f}; step·L {c.gamma_l:.4f}"
        for c in checks
    )


def curves(lines: Sequence[Line]) -> str:
    """The figure's curves as CSV: every round of every line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "picked", "seconds", "relative_gap"])
    for line in lines:
        for t_s, gap in zip(line.run.t_s.tolist(), line.run.gap.tolist(), strict=True):
            writer.writerow([line.name, line.picked, f"{t_s:.6f}", f"{gap:.6e}"])
    return text.getvalue()


def as_json(summary: Mapping[str, Any]) -> str:
    """The summary's text."""
    return json.dumps(summary, indent=1) + "\n"
