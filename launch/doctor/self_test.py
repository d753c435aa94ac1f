"""Two ranks on this machine train small models with Kimad: parameters must be equal, bytes those of the plan."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kimad.launch import arguments
from kimad.launch.doctor.check import FAIL, OK, REPORT, Check
from kimad.launch.doctor.program import MESSAGE_BYTES, MESSAGES, STEPS, Trained
from kimad.launch.folder import make_job
from kimad.launch.run import execute
from kimad.launch.stdout import stdout_to_stderr
from kimad.launch.words import seconds

NAME = "self-test"
RANKS = 2
PROGRAM = ("-m", "kimad.launch.doctor.program")


def self_test(program: Sequence[str] = PROGRAM) -> Check:
    """Run the program, as `kimad run` runs a script, and judge what its ranks have written."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kimad-") as name:
        folder = Path(name)
        args = arguments.make_parser("doctor").parse_args(
            ["--standalone", "--nproc-per-node", str(RANKS), "--out", str(folder / "run"), "--objective", "off",
             "--redirects", "3", "--log-dir", str(folder / "logs"), *program, str(folder)]
        )  # fmt: skip
        arguments.check(args)
        args.local_addr = "127.0.0.1"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        with stdout_to_stderr():
            ending = execute("doctor", args, replace(make_job(args), attach=False)).ending
        if ending.exit_code:
            text = f"{RANKS} ranks on this machine did not end well: {ending.cause}{_last_words(folder / 'logs')}"
            return Check(NAME, FAIL, text, REPORT)
        found = {rank: _read(folder / f"self-test{rank}.json") for rank in range(RANKS)}
    return judge(found, time.monotonic() - began_s)


def judge(found: dict[int, list[Trained]], took_s: float) -> Check:
    """From what every rank found of every model."""
    for models in zip(*found.values(), strict=True):
        objective = models[0].objective
        if len({one.parameters for one in models}) > 1:
            digests = ", ".join(f"rank {rank} {one.parameters[:12]}" for rank, one in zip(found, models, strict=True))
            text = f"parameters differ after {STEPS} steps with {objective}: {digests}"
            return Check(NAME, FAIL, text, f"do not train with this installation; {REPORT}")
        for rank, one in zip(found, models, strict=True):
            wrong = _wrong_bytes(one)
            if wrong:
                text = f"bytes are not those of the plan, rank {rank}, {STEPS} steps with {objective}: {wrong}"
                return Check(NAME, FAIL, text, REPORT)
    first = next(iter(found.values()))
    counted = "and by the kernel's count" if first[0].kernel_bytes is not None else "by its records"
    text = (
        f"{RANKS} ranks, {len(first)} models, {STEPS} steps each: parameters equal to the last bit, "
        f"bytes as planned {counted}; {seconds(took_s)}"
    )
    return Check(NAME, OK, text, figures={"models": len(first), "steps": STEPS, "seconds": took_s})


def _wrong_bytes(one: Trained) -> str:
    """What is wrong with the bytes; empty for nothing."""
    if one.planned_bytes is not None and one.recorded_bytes != one.planned_bytes:
        return f"{one.planned_bytes} planned, {one.recorded_bytes} recorded"
    if one.kernel_bytes is None:
        return ""
    over = one.kernel_bytes - one.recorded_bytes - one.control_bytes
    if not 0 <= over <= STEPS * MESSAGES * MESSAGE_BYTES:
        return f"{one.recorded_bytes} and {one.control_bytes} for the plans recorded, {one.kernel_bytes} sent"
    return ""


def _last_words(logs: Path) -> str:
    """The last line that a rank has written, of the first rank that wrote some."""
    for path in sorted(logs.rglob("stderr.log")):
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if last:
            return f"; {last}"
    return ""


def _read(path: Path) -> list[Trained]:
    return [Trained(**fields) for fields in json.loads(path.read_text(encoding="utf-8"))]
