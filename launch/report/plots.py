"""The plots against time and steps, each a function of runs; None stands for a plot that has nothing to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kimad.launch.history import Floats, History
from kimad.launch.report.drawing import COLOURS, FAINT, INK, Plot, plot, thin
from kimad.launch.report.link import Truth, of_host, slowest
from kimad.launch.report.numbers import split

_PARTS = (
    ("compute_s", "computing", "#2f6fde"),
    ("encode_s", "encoding", "#c49a12"),
    ("wire_s", "wire", "#e0682a"),
    ("decode_s", "decoding", "#1f9d6b"),
    ("idle_s", "other waiting", "#8a97a5"),
)
_WINDOW = 10  # steps that a loss is averaged over


def loss_plot(runs: Sequence[History]) -> Plot | None:
    """Loss against seconds, one line a run."""
    logged = [(i, run) for i, run in enumerate(runs) if len(run.losses) > 1]
    if not logged:
        return None

    def draw(figure: Any, narrow: bool) -> None:
        axes = figure.add_subplot()
        for i, run in logged:
            times_s = np.array([loss.t_s for loss in run.losses])
            losses = np.array([loss.loss for loss in run.losses])
            finite = np.isfinite(losses)
            times_s, losses = times_s[finite], losses[finite]
            colour = COLOURS[i % len(COLOURS)]
            axes.plot(thin(times_s)[0], thin(losses)[0], color=colour, alpha=0.3, linewidth=0.8)
            if len(losses) >= 2 * _WINDOW:
                mean = np.convolve(losses, np.full(_WINDOW, 1 / _WINDOW), "valid")
                axes.plot(thin(times_s[_WINDOW - 1 :])[0], thin(mean)[0], color=colour, label=text(run.name))
            else:
                axes.plot([], [], color=colour, label=text(run.name))
        axes.set(xlabel="seconds since the run began", ylabel="loss")
        legend(axes, narrow)

    names = ", ".join(run.name for _, run in logged)
    return plot("loss", f"Loss against seconds of {names}", 3.2, draw)


def compared_steps_plot(runs: Sequence[History]) -> Plot | None:
    """Duration of each step, one line a run."""
    with_steps = [(i, run) for i, run in enumerate(runs) if run.steps]
    if len(with_steps) < 2:
        return None

    def draw(figure: Any, narrow: bool) -> None:
        axes = figure.add_subplot()
        for i, run in with_steps:
            step_s, group = thin(run.measured("step_s"))
            steps = np.arange(len(step_s)) * group
            axes.plot(steps, step_s, color=COLOURS[i % len(COLOURS)], label=text(run.name), linewidth=1.2)
        axes.set(xlabel="step", ylabel="seconds", ylim=(0, None))
        legend(axes, narrow)

    return plot("compared", "Duration of each step, one line a run", 2.8, draw)


def parts_plot(run: History, name: str) -> Plot | None:
    """The parts of each step, stacked."""
    parts = split(run)
    if parts is None:
        return None

    def draw(figure: Any, narrow: bool) -> None:
        axes = figure.add_subplot()
        bottom: Any = 0.0
        for field, label, colour in _PARTS:
            height, group = thin(getattr(parts, field), 240)
            steps = (np.arange(len(height)) + 0.5) * group - 0.5
            axes.bar(steps, height, width=group, bottom=bottom, color=colour, label=label, linewidth=0)
            bottom = bottom + height
        axes.set(xlabel="step", ylabel="seconds", xlim=(-0.5, len(run.steps) - 0.5))
        whole_steps(axes)
        axes.grid(visible=False, axis="x")
        legend(axes, narrow)

    return plot(name, f"Seconds of each step of {run.name}, cut into computing, encoding, wire, decoding, waiting", 3.0,
                draw)  # fmt: skip


def link_plot(run: History, name: str) -> Plot | None:
    """The true rate, samples, the forecast with its low quantile, and TCP's own rate."""
    truth = slowest(run)
    mean_mbps, low_mbps, samples_mbps = run.link("mean_bps") / 1e6, run.link("low_bps") / 1e6, run.samples_bps / 1e6
    delivery_mbps = run.link("delivery_bps") / 1e6
    if truth is None and not np.isfinite(mean_mbps).any() and not np.isfinite(samples_mbps).any():
        return None
    top_mbps = _top(truth, np.concatenate((mean_mbps, samples_mbps)))

    def draw(figure: Any, narrow: bool) -> None:
        axes = figure.add_subplot()
        if truth is not None:
            hosts = [of_host(rows, run.start_s) for rows in run.truth.values()]
            for host in hosts if 1 < len(hosts) <= 16 else []:
                if host is not None:
                    stairs(axes, host.times_s, host.rates_bps / 1e6, color=FAINT, linewidth=0.8)
            label = "link, true" if len(hosts) < 2 else "slowest link, true"
            stairs(axes, truth.times_s, truth.rates_bps / 1e6, color=INK, linewidth=1.1, label=label)
        if run.steps:
            times_s = thin(run.times_s)[0]
            forecast = {"color": COLOURS[0], "drawstyle": "steps-post"}
            if np.isfinite(mean_mbps).any():
                axes.plot(times_s, thin(mean_mbps)[0], **forecast, label="forecast, mean")
                axes.plot(times_s, thin(low_mbps)[0], **forecast, linewidth=0.9, linestyle="--", label="low quantile")
            inside = np.where(samples_mbps <= top_mbps, samples_mbps, np.nan)
            if np.isfinite(inside).any():
                axes.plot(times_s, thin(inside)[0], ".", color=COLOURS[1], markersize=4, label="sample")
            tcp = np.where(delivery_mbps <= top_mbps, delivery_mbps, np.nan)
            if np.isfinite(tcp).any():
                axes.plot(times_s, thin(tcp)[0], "x", color=COLOURS[2], markersize=3, label="TCP")
        axes.set(xlabel="seconds since the run began", ylabel="Mbit/s", ylim=(0, top_mbps))
        if run.steps:
            axes.set_xlim(min(0.0, run.times_s[0]), run.times_s[-1] + 0.5)
        outside = int(np.sum(samples_mbps > top_mbps))
        if outside:
            note = f"{outside} sample{'s' if outside > 1 else ''} above"
            axes.annotate(note, (1, 1), xycoords="axes fraction", ha="right", va="top", fontsize=8, color=COLOURS[1])
        legend(axes, narrow)

    return plot(name, f"Link of {run.name}: true rate, samples, and the forecast with its low quantile", 3.2, draw)


def prediction_plot(run: History, name: str) -> Plot | None:
    """Predicted and measured seconds of each step, and one against the other."""
    predicted_s, measured_s = run.predicted("step_s"), run.measured("step_s")
    known = np.isfinite(predicted_s) & np.isfinite(measured_s)
    if not known.any():
        return None

    def draw(figure: Any, narrow: bool) -> float | None:
        line, cloud = figure.subplots(2, 1) if narrow else figure.subplots(1, 2, width_ratios=(2.4, 1))
        (seen, group), (thought, _) = thin(measured_s), thin(predicted_s)
        steps = np.arange(len(seen)) * group
        line.plot(steps, seen, color=INK, linewidth=1.1, label="measured")
        line.plot(steps, thought, color=COLOURS[0], label="predicted")
        line.set(xlabel="step", ylabel="seconds", ylim=(0, None))
        whole_steps(line)
        legend(line, narrow)
        some = np.flatnonzero(known)[:: max(1, int(known.sum()) // 1500)]
        limit_s = 1.08 * float(max(measured_s[some].max(), predicted_s[some].max()))
        cloud.plot([0, limit_s], [0, limit_s], color=INK, linewidth=0.8, linestyle=":")
        cloud.plot(measured_s[some], predicted_s[some], ".", color=COLOURS[0], markersize=4, alpha=0.7)
        cloud.set(xlabel="measured seconds", ylabel="predicted seconds", xlim=(0, limit_s), ylim=(0, limit_s))
        cloud.set_aspect("equal")
        return 5.6 if narrow else None

    return plot(name, f"Predicted against measured step time of {run.name}", 2.9, draw)


def _top(truth: Truth | None, seen_mbps: Floats) -> float:
    """Where the axis ends: above nearly all that was seen, but not far above the truth, in Mbit/s."""
    seen_mbps = seen_mbps[np.isfinite(seen_mbps)]
    usual = 1.15 * float(np.quantile(seen_mbps, 0.95)) if seen_mbps.size else 0.0
    if truth is None:
        return max(usual, 1e-3)
    highest = float(truth.rates_bps.max()) / 1e6
    return max(min(max(usual, 1.15 * highest), 1.6 * highest), 1e-3)


def stairs(axes: Any, times_s: Any, rates: Any, **style: Any) -> None:
    """A rate that holds until the next change; only the changes are drawn."""
    changed = np.concatenate(([True], np.diff(rates) != 0))
    changed[-1] = True
    axes.plot(times_s[changed], rates[changed], drawstyle="steps-post", **style)


def whole_steps(axes: Any) -> None:
    """No half steps on the axis."""
    axes.xaxis.get_major_locator().set_params(integer=True)


def legend(axes: Any, narrow: bool) -> None:
    """Above the axes, where it hides nothing."""
    count = len(axes.get_legend_handles_labels()[1])
    columns = min(count, 2 if narrow else 6)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, borderaxespad=0.2, columnspacing=1.2)


def text(name: str) -> str:
    """A name as a label: matplotlib takes dollars for formulas, and a leading underscore for a label to leave out."""
    shown = name if len(name) <= 40 else f"{name[:37]}..."
    return shown.replace("$", r"\$").replace("_", "\u200a_", 1) if shown.startswith("_") else shown.replace("$", r"\$")
