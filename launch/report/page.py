"""The page: sections of figures, plots and sentences in one HTML file that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import kimad
from kimad.launch.history import History
from kimad.launch.report import sections
from kimad.launch.report.numbers import figures
from kimad.launch.report.plots import compared_steps_plot, loss_plot
from kimad.launch.report.style import CSS
from kimad.launch.summary import size
from kimad.launch.words import percents, seconds, size_or_dash

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(runs: Sequence[History]) -> str:
    """The whole page.

    Raises:
        UsageError: matplotlib is missing.
    """
    shown = [model for run in runs for model in (run, *run.models)]
    numbers = [figures(run) for run in shown]
    title = f"Kimad: {shown[0].name}" if len(shown) == 1 else f"Kimad: {len(shown)} runs compared"
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if len(shown) == 1:
        parts += [_headline(numbers[0])]
    else:
        parts += [_comparison(numbers)]
    parts += [_losses(shown)]
    for i, (run, number) in enumerate(zip(shown, numbers, strict=True)):
        suffix = f"-{i}" if len(shown) > 1 else ""
        if len(shown) > 1:
            parts += [f"<h2>Run {html.escape(run.name)}</h2>", _headline(number)]
        level = "h3" if len(shown) > 1 else "h2"
        for heading, body in sections.of_run(run, number, suffix):
            parts.append(f"<{level}>{html.escape(heading)}</{level}>\n{body}")
    parts.append(f'<p class="soft">Made by kimad {html.escape(kimad.__version__)} from {_folders(shown)}.</p>')
    return _document(title, parts)


def _document(title: str, parts: Iterable[str]) -> str:
    body = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>{CSS}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _headline(number: dict[str, Any]) -> str:
    saved = max(0.0, 1 - number["wire_bytes"] / max(1, number["dense_bytes"]))
    known = number["steps"] > 0
    cards = [
        (str(number["steps"]), "steps"),
        (seconds(number["seconds"]) if known else "-", "in steps"),
        (seconds(number["mean_step_s"]), f"a step; p95 {seconds(number['p95_step_s'])}"),
        (
            size(number["wire_bytes"]) if known else "-",
            f"sent by a rank; plain DDP {size_or_dash(number['dense_bytes'])}",
        ),
        (f"{saved:.1%}" if known else "-", "of the bytes saved"),
    ]
    if number["final_loss"] is not None:
        cards.append((f"{number['final_loss']:.4g}", "loss at the end"))
    facts = [
        ("objective", number["objective"]),
        ("link", number["link"] or "the real network"),
        ("backend", number["backend"] or "none: nothing was emulated"),
        ("ranks", number["ranks"]),
        ("command", number["command"]),
        ("machine", number["machine"]),
        ("state", number["status"]),
    ]
    verdict = number["verdict"] or "no step was recorded"
    tiles = "".join(f'<div class="card"><b>{html.escape(v)}</b><span>{html.escape(t)}</span></div>' for v, t in cards)
    rows = "".join(
        f"<tr><td>{name}</td><td>{html.escape(str(value))}</td></tr>" for name, value in facts if value is not None
    )
    return (
        f'<p class="verdict">{html.escape(verdict)}</p>\n<div class="cards">{tiles}</div>\n'
        f'<table class="facts">{rows}</table>'
    )


def _comparison(numbers: Sequence[dict[str, Any]]) -> str:
    heads = ("run", "objective", "link", "steps", "mean step", "p95", "bytes sent", "plain DDP", "saved", "final loss",
             "prediction off by", "state")  # fmt: skip
    rows = []
    for n in numbers:
        saved = max(0.0, 1 - n["wire_bytes"] / n["dense_bytes"]) if n["dense_bytes"] else None
        loss, off = n["final_loss"], (n["prediction"] or {}).get("median_error")
        rows.append((
            n["name"], n["objective"] or "-", n["link"] or "-", str(n["steps"]), seconds(n["mean_step_s"]),
            seconds(n["p95_step_s"]), size_or_dash(n["wire_bytes"]), size_or_dash(n["dense_bytes"]), percents(saved),
            "-" if loss is None else f"{loss:.4g}", percents(off), n["status"],
        ))  # fmt: skip
    return sections.table(heads, rows)


def _losses(runs: Sequence[History]) -> str:
    drawn, compared = loss_plot(runs), compared_steps_plot(runs)
    parts = ["<h2>Loss against time</h2>"]
    without = [run.name for run in runs if len(run.losses) < 2]
    if drawn is not None:
        parts.append(drawn.html)
    if drawn is None or without:
        whose = "" if drawn is None else f" by {html.escape(', '.join(without))}"
        parts.append(
            f'<p class="empty">No loss was logged{whose}: Kimad does not see it. A training script that writes JSON '
            "lines with loss and monotonic_s (or t_s) to a file *.jsonl in the run folder gets a curve here.</p>"
        )
    if compared is not None:
        parts += ["<h2>Step time of all runs</h2>", compared.html]
    return "\n".join(parts)


def _folders(runs: Sequence[History]) -> str:
    return html.escape(", ".join(str(run.folder) for run in runs))
