"""The sections of one run: each is a plot with its figures, or says why there is none."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kimad.launch.history import History
from kimad.launch.report.heat import MOST_ROWS, heat_plot
from kimad.launch.report.plots import link_plot, parts_plot, prediction_plot
from kimad.launch.report.reasons import codec_words, percent, reasons
from kimad.launch.words import percents, seconds, size_or_dash

_OFF = "The run was plain DDP (objective off), of which only step times and bytes are recorded."
_MOST_LAYERS = 2000  # rows of the table


def of_run(run: History, number: dict[str, Any], suffix: str) -> Iterator[tuple[str, str]]:
    """Headings and bodies."""
    yield "Where the time of a step goes", _parts(run, number, suffix)
    yield "Link: truth, estimate, forecast", _link(run, number, suffix)
    yield "Layers: density and bytes", _layers(run, suffix)
    yield "Decisions and their reasons", _decisions(run)
    yield "Predicted against measured", _prediction(run, number, suffix)


def _parts(run: History, number: dict[str, Any], suffix: str) -> str:
    drawn = parts_plot(run, f"parts{suffix}")
    if drawn is None:
        return _empty(run, "no step says what its time was spent on")
    parts = number["parts"]
    names = ("computing", "encoding", "wire", "decoding", "waiting after computing", "deciding")
    cells = [seconds(parts[f"{key}_s"]) for key in ("compute", "encode", "wire", "decode", "wait", "solve")]
    return (
        drawn.html + table(("", *names), [("mean of a step", *cells)]) + _soft(
            "Encoding, wire and decoding overlap with computing, so their means may add up to more than a step. The "
            "plot shows what was left of them once the last gradient was ready, shared out in proportion to the "
            "three; other waiting is what none of them accounts for."
        )
    )  # fmt: skip


def _link(run: History, number: dict[str, Any], suffix: str) -> str:
    drawn = link_plot(run, f"link{suffix}")
    if drawn is None:
        return _empty(run, "nothing is known of the link: no truth log, no sample, no forecast")
    text = drawn.html
    errors = number["forecast"]
    if errors is not None:
        text += _soft(
            f"Against the true rate during the step that follows, the mean forecast was off by "
            f"{percents(errors['median_error'])} in the median step ({errors['bias']:+.1%} with its sign; "
            f"{errors['steps']} steps). The low quantile, which plans are made on, was above the truth in "
            f"{percents(errors['low_above_truth'])} of the steps."
        )
    elif not run.truth:
        text += _soft("The true rate is known of emulated links only, so there is no line of it here.")
    if run.steps and not np.isfinite(run.link("mean_bps")).any():
        text += _soft(_OFF if _is_off(run) else "No forecast was made in this run.")
    if number["outages"]["steps"]:
        outages = number["outages"]
        text += _soft(
            f"The network stood still in {outages['steps']} of the steps, for {seconds(outages['seconds'])} in all."
        )
    if number["tcp"] is not None:
        text += _soft(_tcp(number["tcp"]))
    return text + _soft(
        "A sample is the smallest one over all ranks in a step. Samples of messages of a few kB may lie far above the "
        "true rate, as a queue takes them in at once; the forecast gives them little weight."
    )


def _tcp(tcp: dict[str, Any]) -> str:
    """The kernel's own figures in words; a rate is known of few steps where little is sent."""
    shares = [
        f"{percents(tcp[key])} of the {name}"
        for key, name in (("delivery_to_sample", "sample"), ("delivery_to_truth", "true rate"))
        if tcp[key] is not None
    ]
    rate = f"its delivery rate was {' and '.join(shares)} in the median" if shares else "none had a rate to compare"
    rtt = f"; smallest round trip {seconds(tcp['min_rtt_s'])}" if tcp["min_rtt_s"] is not None else ""
    other = "" if tcp["other_bps"] is None else (
        f" Other programs moved {tcp['other_bps'] / 1e6:.3g} Mbit/s over the same interface, in the mean."
    )  # fmt: skip
    return (
        f"TCP's own count on rank 0, as a cross-check: in {tcp['steps']} steps that filled the link {rate}{rtt}; "
        f"{tcp['repeated_segments']} segments were sent again.{other}"
    )


def _layers(run: History, suffix: str) -> str:
    drawn = heat_plot(run, f"layers{suffix}")
    if drawn is None:
        return _empty(run, "no step says what was done with its layers")
    layers = run.steps[-1].layers
    text = drawn.html
    if len(layers) > MOST_ROWS:
        text += _soft(f"{len(layers)} layers in groups; in brackets: how many. Density is the mean over a group.")
    rows = [
        (layer.name, codec_words(layer.codec, layer.density), percent(layer.density), size_or_dash(layer.frame_bytes))
        for layer in layers[:_MOST_LAYERS]
    ]
    heads = ("layer", "codec", "density", "bytes of one copy")
    more = f" (the first {_MOST_LAYERS})" if len(layers) > _MOST_LAYERS else ""
    title = f"All {len(layers)} layers in the last step{more}"
    return f"{text}<details><summary>{title}</summary>{table(heads, rows)}</details>"


def _decisions(run: History) -> str:
    if run.steps and run.steps[-1].objective.startswith("fixed:"):
        objective = html.escape(run.steps[-1].objective)
        return f'<p class="empty">The objective {objective} pins the plan, so there was nothing to decide.</p>'
    if not run.steps or not run.steps[-1].layers:
        return _empty(run, "no step says what was done with its layers")
    told, left_out = reasons(run.steps)
    if not told:
        return '<p class="empty">The plan never changed notably (bytes by 1.4, or a tenth of the layers).</p>'
    items = "".join(f"<li><b>Step {reason.step}:</b> {html.escape(reason.text)}.</li>" for reason in told)
    rest = f"{left_out} smaller changes are left out. " if left_out else ""
    return f'<ol class="steps">{items}</ol>' + _soft(
        f"{rest}The forecast named is its low quantile, which plans are made on. A change is told when the bytes of a "
        "step changed by a factor of 1.4 or a tenth of the layers got another operator, since the change told before."
    )


def _prediction(run: History, number: dict[str, Any], suffix: str) -> str:
    drawn = prediction_plot(run, f"prediction{suffix}")
    errors = number["prediction"]
    if drawn is None or errors is None:
        pinned = bool(run.steps) and run.steps[-1].objective.startswith("fixed:")
        return _empty(run, "step times are predicted only where a plan is decided on" if pinned
                      else "no step time was predicted")  # fmt: skip
    return drawn.html + _soft(
        f"Predictions were off by {percents(errors['median_error'])} in the median step and by "
        f"{percents(errors['p95_error'])} at the 95th percentile ({errors['bias']:+.1%} with its sign); "
        f"{percents(errors['within_20_percent'])} of {errors['steps']} steps were within 20 %."
    )


def _is_off(run: History) -> bool:
    return bool(run.steps) and run.steps[-1].objective == "off"


def _empty(run: History, why: str) -> str:
    if not run.steps:
        text = "No step was recorded yet." if run.summary is None else "The run recorded no step."
    else:
        text = _OFF if _is_off(run) else f"Empty, because {why}."
    return f'<p class="empty">{html.escape(text)}</p>'


def _soft(text: str) -> str:
    return f'<p class="soft">{html.escape(text)}</p>'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself where it is too wide."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide" tabindex="0"><table><tr>{head}</tr>{body}</table></div>'
