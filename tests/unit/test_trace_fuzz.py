"""50,000 bad inputs, generated: each is refused in one line that says where and why; none hangs, none gets through."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kimad.trace import FORMATS, Link, LinkError, TraceError, parse_link, parse_links, read_trace
from tests.unit.test_trace_links import SPECS
from tests.unit.traces import GOLDEN, TABLE, golden

SEEDS = 20
REFUSED = 2500  # a seed: half of them specs, half of them files
SLOWEST_S = 5.0  # of processor time, for one input

NASTY = ["nan", "inf", "-1", "-0.0", "1e999", "1e308", "1e-320", "0", "x", "1_0", "٣", "0x10", "1e5e5", "9" * 400]
NASTY += [
    "",
    " ",
    "\0",
    "\n",
    "\r",
    "\t",
    "\ud800",
    "\u2028",
    "'",
    '"',
    "/",
    "//",
    ";",
    "|",
    ",",
    ":",
    "{",
    "[",
    "]",
    "}",
]
NASTY += [
    "const:",
    "walk:",
    "scale:1,",
    "concat:1,",
    "steps:",
    "csv:",
    "mahimahi:",
    "/dev/zero",
    "/proc/self/mem",
    "%s",
]
NASTY += ["null", "#", "../", "~", "-"]


def changed(text: str, dice: random.Random) -> str:
    """A text with a few faults of the kinds that happen, and some that do not."""
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        at = dice.randrange(len(text) + 1)
        end = min(len(text), at + dice.choice((0, 0, 1, 2, 5, 40)))
        kind = dice.randrange(7)
        if kind == 0:
            text = text[:at] + dice.choice(NASTY) + text[end:]
        elif kind == 1:
            text = text[:at] + text[end:]
        elif kind == 2:
            text = text[:at] + text[at:end] * dice.choice((2, 3, 50)) + text[end:]
        elif kind == 3:
            text = text[:at] + "".join(chr(dice.randrange(0x500)) for _ in range(dice.randrange(1, 9))) + text[end:]
        elif kind == 4:
            numbers = list(re.finditer(r"[\d.]+", text))
            if numbers:
                hit = dice.choice(numbers)
                text = text[: hit.start()] + dice.choice(NASTY) + text[hit.end() :]
        elif kind == 5:
            lines = text.split("\n")
            dice.shuffle(lines)
            text = "\n".join(lines)
        else:
            text = text[:at]
    return text


def bad_spec(dice: random.Random) -> str:
    base = dice.choice(SPECS)
    if dice.random() < 0.2:
        base = f"{base}{dice.choice('/;|,')}{dice.choice(SPECS)}"
    return changed(base, dice)


def check(link: Link) -> None:
    """What was accepted after all is a link like any other."""
    period_s = link.period_s or 1.0
    for value in (link.mbps(0.7), link.mean_mbps(0, period_s), *link.means(0.1, period_s / 3, 4).tolist()):
        assert np.isfinite(value)
        assert value >= 0
    assert link.resolution_s > 0
    assert isinstance(str(link), str)


def refusal(call: Callable[[], Link]) -> str | None:
    """The message of the named error; None if the input is good. Any other error fails the test."""
    start_s = time.process_time()
    message: str | None = None
    try:
        check(call())
    except LinkError as error:
        message = str(error)
    assert time.process_time() - start_s < SLOWEST_S
    if message is not None:
        assert len(message.splitlines()) == 1
        assert 20 < len(message) < 1000
        assert message.isprintable(), message
    return message


@pytest.mark.parametrize("seed", range(SEEDS))
def test_bad_specs(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dice = random.Random(seed)
    refused = 0
    while refused < REFUSED // 2:
        spec = bad_spec(dice)
        parse = dice.choice((parse_link, lambda text: parse_links(text, dice.choice((1, 2)))[0].down))
        message = refusal(lambda parse=parse, spec=spec: parse(spec))  # type: ignore[misc]
        refused += message is not None
        if message is not None and not spec.strip().startswith(tuple(f"{name}:" for name in FORMATS)):
            assert re.match(r"(\d+ )?links? |trace '/proc/", message), message


@pytest.mark.parametrize("seed", range(SEEDS))
def test_bad_files(seed: int, tmp_path: Path) -> None:
    dice = random.Random(1000 + seed)
    files = {name: golden(name).read_text(encoding="utf-8") for name in GOLDEN}
    path = tmp_path / "fuzzed.txt"
    refused = 0
    while refused < REFUSED // 2:
        name = dice.choice(list(files))
        data = changed(files[name], dice).encode("utf-8", "surrogatepass")
        if dice.random() < 0.05:
            data = dice.randbytes(dice.randrange(1, 300))
        path.write_bytes(data)
        form = dice.choice((None, GOLDEN[name][0], dice.choice([*FORMATS.values(), TABLE])))
        message = refusal(lambda form=form: read_trace(str(path), form))  # type: ignore[misc]
        refused += message is not None
        if message is not None:
            assert re.match(r"trace '.*fuzzed\.txt', line \d+: .{8}", message), message


def test_error_of_a_file_is_a_trace_error(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text("0 1\n", encoding="utf-8")
    with pytest.raises(TraceError, match="line 1: "):
        parse_links(f"const:1/{path}", 1)
