"""The figures of a run, as the page's tables and `--json` have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kimad.launch.history import Floats, History
from kimad.launch.report.link import forecast_errors, kernel_figures
from kimad.launch.summary import sum_up

PARTS = ("compute_s", "encode_s", "wire_s", "decode_s")  # what a step's seconds go to; the rest is waiting


@final
@dataclass(frozen=True)
class Parts:
    """Each step's duration, cut into pieces that add up to it; seconds."""

    compute_s: Floats  # until the last gradient was ready
    encode_s: Floats  # after that
    wire_s: Floats  # after that
    decode_s: Floats  # after that
    idle_s: Floats  # neither of these


def split(history: History) -> Parts | None:
    """Cut the steps into parts; None where no step says what it spent its time on.

    Encoding, sending and decoding overlap with computing. What comes after the last gradient is `wait_s`; it is given
    to the three in proportion to their totals, as far as these go.
    """
    wait_s = np.maximum(history.measured("wait_s"), 0.0)
    if not np.isfinite(wait_s).any():
        return None
    totals = [np.nan_to_num(np.maximum(history.measured(name), 0.0)) for name in PARTS[1:]]
    total_s = np.sum(totals, axis=0)
    wait_s = np.nan_to_num(wait_s)
    share = np.minimum(wait_s, total_s) / np.where(total_s > 0, total_s, 1.0)
    encode_s, wire_s, decode_s = (part * share for part in totals)
    idle_s = np.maximum(wait_s - (encode_s + wire_s + decode_s), 0.0)
    return Parts(np.nan_to_num(np.maximum(history.measured("compute_s"), 0.0)), encode_s, wire_s, decode_s, idle_s)


def figures(history: History) -> dict[str, Any]:
    """Everything that is one number: plain JSON, None where it is not known."""
    total = sum_up(history.steps)
    config, ending = history.config, history.summary
    step_s, outage_s = history.measured("step_s"), history.link("outage_s")
    return {
        "name": history.name,
        "folder": str(history.folder),
        "status": status(history),
        "verdict": total.verdict if total else None,
        "objective": total.objective if total else config.get("objective"),
        "command": config.get("command"),
        "link": config.get("link"),
        "backend": config.get("backend"),
        "ranks": config.get("world_size"),
        "machine": machine(config),
        "steps": len(history.steps),
        "seconds": total.seconds if total else 0.0,
        "mean_step_s": _mean(step_s),
        "p95_step_s": _quantile(step_s, 0.95),
        "max_step_s": _quantile(step_s, 1.0),
        "wire_bytes": total.wire_bytes if total else 0,
        "dense_bytes": total.dense_bytes if total else 0,
        "compression_factor": total.compression_factor if total else None,
        "compressed_steps": total.compressed_steps if total else 0,
        "void_steps": sum(step.void for step in history.steps),
        "parts": {name: _mean(history.measured(name)) for name in (*PARTS, "wait_s", "solve_s")},
        "prediction": prediction_errors(history),
        "forecast": forecast_errors(history),
        "outages": {"steps": int((outage_s > 0).sum()), "seconds": float(outage_s.sum())},
        "tcp": kernel_figures(history),
        "final_loss": final_loss(history),
        "exit_code": ending.get("exit_code") if ending else None,
    }


def prediction_errors(history: History) -> dict[str, Any] | None:
    """How far predicted step times are from measured ones; None where nothing was predicted."""
    predicted_s, measured_s = history.predicted("step_s"), history.measured("step_s")
    known = np.isfinite(predicted_s) & np.isfinite(measured_s) & (measured_s > 0)
    if not known.any():
        return None
    error = predicted_s[known] / measured_s[known] - 1
    return {
        "steps": int(known.sum()),
        "median_error": float(np.median(np.abs(error))),  # |predicted / measured - 1|
        "p95_error": float(np.quantile(np.abs(error), 0.95)),
        "bias": float(np.median(error)),  # above 0: predicted too long
        "within_20_percent": float(np.mean(np.abs(error) <= 0.2)),
    }


def final_loss(history: History, window: int = 10) -> float | None:
    """Mean of the last losses; None where no loss was logged."""
    return _mean(np.array([loss.loss for loss in history.losses[-window:]]))


def status(history: History) -> str:
    """Whether the run ended, and how; half a sentence."""
    ending = history.summary
    if ending is None:
        return "still going, or ended without a summary" if history.config else "no summary: not started by kimad"
    cause = ending.get("cause")
    if cause:
        return f"failed: {cause}"
    code = ending.get("exit_code")
    return "ended well" if code == 0 else f"ended with exit code {code}"


def machine(config: dict[str, Any]) -> str | None:
    """Where the run was made; None where it does not say."""
    cores = config.get("cores")
    parts = [config.get("system"), f"{cores} cores" if cores else None]
    parts += [f"{name} {config[key]}" for name, key in (("Python", "python"), ("torch", "torch")) if key in config]
    return ", ".join(str(part) for part in parts if part) or None


def _mean(values: Floats) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else None


def _quantile(values: Floats, share: float) -> float | None:
    values = values[np.isfinite(values)]
    return float(np.quantile(values, share)) if values.size else None
