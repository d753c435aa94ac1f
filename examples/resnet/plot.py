"""The demo's picture: loss against time of all runs, and the link against the bytes of the last run's steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from examples.resnet.report import LOSS_WINDOW_STEPS, Run, bytes_per_step, final_loss, running_mean


def draw(runs: Sequence[Run], path: Path) -> None:
    """Write the picture to ``path``; the first run sets the target, the link shown is the last run's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    FigureCanvasAgg(figure)
    losses, link = figure.subplots(2, 1)

    for run in runs:
        points = [(t_s, loss) for t_s, loss in zip(run.t_s, running_mean(run.loss), strict=True) if loss is not None]
        losses.plot([t_s for t_s, _ in points], [loss for _, loss in points], label=run.name)
    losses.axhline(final_loss(runs[0]), color="grey", linestyle=":", label=f"target: {runs[0].name} at its end")
    losses.set_yscale("log")
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter("{x:g}")
    losses.set_xlabel("seconds of training")
    losses.set_ylabel(f"loss, mean of {LOSS_WINDOW_STEPS} steps")
    losses.legend()

    last = runs[-1]
    offset_s = last.monotonic_s[0] - last.t_s[0]
    link.plot(
        [row.monotonic_s - offset_s for row in last.link],
        [row.up_mbps for row in last.link],
        color="tab:blue",
    )
    link.set_xlim(0, last.t_s[-1])
    link.set_xlabel(f"seconds of training, {last.name}")
    link.set_ylabel("Mbit/s", color="tab:blue")
    link.set_ylim(bottom=0)
    sent = link.twinx()
    start_s = last.t_s[0] - last.step_s[0]
    sent.stairs([count / 1e6 for count in bytes_per_step(last)], [start_s, *last.t_s], color="tab:red", baseline=None)
    sent.set_ylabel(f"MB per step, {last.name}", color="tab:red")
    sent.set_ylim(bottom=0)
    figure.savefig(path, dpi=120)
