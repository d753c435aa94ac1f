"""`kimad report`: its figures, its sentences, and a page that is whole whatever is missing."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import final

import numpy as np
import pytest

from kimad.launch.cli import main
from kimad.launch.history import read_history
from kimad.launch.report.heat import MOST_ROWS, group, heat
from kimad.launch.report.link import Truth, slowest
from kimad.launch.report.numbers import figures, split
from kimad.launch.report.reasons import codec_words, percent, reasons
from tests.launch.run_folders import CONFIG, adaptive, plain, step, write_records, write_run

PLOTS = ["loss", "parts", "link", "layers", "prediction"]


def kimad(*arguments: object) -> int:
    """Exit code of `kimad report`."""
    with pytest.raises(SystemExit) as caught:
        main(["report", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@final
class Elements(HTMLParser):
    """Every element with its attributes, and whether all were closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    @property
    def plots(self) -> list[str]:
        return [a["id"].removeprefix("plot-") for tag, a in self.found if tag == "img" and a["id"]]


def check_page(path: Path) -> Elements:
    """A page that is well formed, has a text for each image, and asks for nothing."""
    text = path.read_text(encoding="utf-8")
    elements = Elements(text)
    assert elements.open == []
    for tag, attributes in elements.found:
        for name in ("src", "href", "srcset"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, name)
        assert tag != "script"
        if tag == "img":
            assert attributes["alt"]
    assert not re.search(r"url\(|@import", text)
    assert "default-src 'none'" in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).lower().split()
    return elements


def test_a_page_of_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "a", adaptive())
    assert kimad(folder) == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[1].split()[:3] == ["a", "progress", "20"]
    assert str(folder / "report.html") in output.err
    assert check_page(folder / "report.html").plots == PLOTS
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "<b>&" not in text
    assert "&lt;b&gt;&amp;.bias" in text
    assert "train.py --lr 0.1" in text
    assert "95.0% of the sample and 28.5% of the true rate in the median; smallest round trip 20 ms; 10 seg" in text
    assert "The network stood still in 1 of the steps, for 3.5 s in all" in text
    assert "Other programs moved 5 Mbit/s" in text
    assert not list(folder.glob("*.part"))


def test_runs_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_run(tmp_path / "x" / "run", adaptive())
    two = write_run(tmp_path / "y" / "run", adaptive()[:9], losses=False)
    (two / "model2").mkdir()
    write_records(two / "model2" / "records.jsonl", adaptive()[:4])
    page = tmp_path / "page.html"
    assert kimad(one, two, "--out", page, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["name"] for run in found["runs"]] == ["x/run", "y/run", "y/run/model2"]
    assert [run["steps"] for run in found["runs"]] == [20, 9, 4]
    assert found["report"] == str(page)
    plots = check_page(page).plots
    assert plots[:2] == ["loss", "compared"]
    assert len(plots) == len(set(plots)) == 2 + 3 * 4
    assert not (one / "report.html").exists()


def test_figures(tmp_path: Path) -> None:
    found = figures(read_history(write_run(tmp_path, adaptive())))
    assert (found["steps"], found["seconds"], found["compressed_steps"]) == (20, 20.0, 20)
    assert (found["wire_bytes"], found["dense_bytes"]) == (10 * 2410 + 10 * 110, 160_000)
    assert found["mean_step_s"] == pytest.approx(1)
    assert found["parts"]["wire_s"] == pytest.approx(0.3)
    assert found["prediction"] == pytest.approx(
        {"steps": 19, "median_error": 0.1, "p95_error": 0.1, "bias": -0.1, "within_20_percent": 1.0}
    )
    # 8 forecasts of 100 Mbit/s are right; 10 of 30 Mbit/s are too low by 70 %
    assert found["forecast"] == pytest.approx({"steps": 18, "median_error": 0.7, "bias": -0.7, "low_above_truth": 0.0})
    assert found["final_loss"] == pytest.approx(np.mean([2 - 0.01 * i for i in range(20, 30)]))
    assert found["tcp"] == pytest.approx(
        # the first step knows of nothing; 8 steps at 100 Mbit/s, as the link is, and 11 at 30
        {
            "steps": 19,
            "delivery_to_sample": 0.95,
            "delivery_to_truth": 0.285,
            "min_rtt_s": 0.02,
            "repeated_segments": 10,
            "other_bps": 5e6,
        }
    )
    assert found["outages"] == {"steps": 1, "seconds": 3.5}
    assert found["status"] == "ended well"


def test_parts_add_up_to_the_step(tmp_path: Path) -> None:
    history = read_history(write_run(tmp_path, adaptive()))
    parts = split(history)
    assert parts is not None
    pieces = [parts.compute_s, parts.encode_s, parts.wire_s, parts.decode_s, parts.idle_s]
    assert np.sum(pieces, axis=0) == pytest.approx(history.measured("step_s"))
    assert [float(piece[0]) for piece in pieces] == pytest.approx([0.6, 0.2, 0.15, 0.05, 0.0])


def test_the_truth_is_the_slowest_hosts(tmp_path: Path) -> None:
    folder = write_run(tmp_path, adaptive())
    (folder / "truth-host1.csv").write_text(
        "monotonic_s,t_s,up_mbps,down_mbps\n1000,0,inf,inf\n1002,2,40,50\n1004,4,0,50\n1006,6,300,400\n",
        encoding="utf-8",
    )
    truth = slowest(read_history(folder))
    assert truth is not None
    assert [truth.mean_bps(t, t + 0.5) / 1e6 for t in (2, 4.5, 7)] == [40, 0, 100]
    assert truth.mean_bps(3, 5) == pytest.approx(20e6)


def test_truth_holds_outside() -> None:
    truth = Truth(np.array([1.0, 2.0]), np.array([10.0, 30.0]))
    assert (truth.mean_bps(0, 1), truth.mean_bps(1.5, 2.5), truth.mean_bps(5, 9)) == (10, 20, 30)


def test_reasons_name_cause_and_effect() -> None:
    told, left_out = reasons(adaptive())
    assert [(reason.step, left_out) for reason in told] == [(10, 0)]
    assert told[0].text == (
        "the forecast fell from 80 Mbit/s to 24 Mbit/s, so 1 layer went from bfloat16 to top-k 2 % (log4),"
        " 1 layer went from top-k 50 % (log4) to dropped and 2.4 kB became 100 B; predicted 0.90 s, measured 1.00 s"
    )


def test_reasons_end_with_the_verdict_of_that_step() -> None:
    steps = [replace(record, why=f"verdict {record.step}") for record in adaptive()]
    told, _ = reasons(steps)
    assert [reason.text.split("; ")[-1] for reason in told] == ["verdict 10"]


def test_reasons_are_capped_to_the_largest() -> None:
    steps = [step(i, rate_bps=3e7 if i % 2 else 1e8, sparse=i % 2 == 0) for i in range(40)]
    told, left_out = reasons(steps, most=5)
    assert (len(told), left_out) == (5, 34)
    assert [reason.step for reason in told] == sorted(reason.step for reason in told)
    assert told[0].text.startswith("the link was measured for the first time, at 80 Mbit/s, so ")
    assert told[1].text.startswith("the forecast fell from 80 Mbit/s to 24 Mbit/s, so ")
    assert told[2].text.startswith("the forecast rose from 24 Mbit/s to 80 Mbit/s, so ")
    assert reasons(steps[:1]) == reasons([]) == ([], 0)


def test_words() -> None:
    assert codec_words("topk:log4", 0.02) == "top-k 2 % (log4)"
    assert (codec_words("bfloat16", 1.0), codec_words("drop", 0.0), codec_words("int8", 1.0)) == (
        "bfloat16", "dropped", "int8",
    )  # fmt: skip
    assert [percent(x) for x in (0, 0.32, 0.0104, 0.00031, 1)] == ["0 %", "32 %", "1 %", "0.031 %", "100 %"]


def test_many_layers_are_grouped() -> None:
    assert group(["a.0.weight", "a.0.bias", "b.weight"], most=2) == {"a.0 (2)": [0, 1], "b.weight": [2]}
    for names in ([f"layer{i}.{j}.w" for i in range(30) for j in range(20)], [f"p{i}" for i in range(1000)]):
        groups = group(names)
        assert len(groups) <= MOST_ROWS
        assert sorted(i for rows in groups.values() for i in rows) == list(range(len(names)))


def test_heat(tmp_path: Path) -> None:
    found = heat(read_history(write_run(tmp_path, adaptive())))
    assert found is not None
    assert found.bytes is not None
    assert found.density[:, [0, 19]].tolist() == [[1.0, 0.02], [0.5, 0.0]]
    assert found.bytes[:, [0, 19]].tolist() == [[2000, 90], [400, 0]]


@pytest.mark.parametrize("case", ["off", "empty", "bare", "going", "fixed", "outage", "unlimited"])
def test_whatever_is_missing_is_explained(tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "r", [], losses=False, truth=False, ended=case != "going")
    said = {"off": "plain DDP (objective off)", "empty": "The run recorded no step", "bare": "No forecast was made",
            "going": "still going", "fixed": "pins the plan", "outage": "Link", "unlimited": "Link"}[case]  # fmt: skip
    if case == "off":
        lines = "".join(json.dumps(line) + "\n" for line in plain())
        (folder / "records.jsonl").write_text(lines, encoding="utf-8")
    elif case == "bare":
        (folder / "config.json").unlink()
        records = [{**step(i).to_json(), "link": {"samples_bps": [1e6], "repeated_segments": 0}, "predicted": {}}
                   for i in range(2)]  # fmt: skip
        (folder / "records.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    elif case == "fixed":
        records = [{**step(i).to_json(), "objective": "fixed:topk:0.01"} for i in range(3)]
        (folder / "records.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    elif case in ("outage", "unlimited"):
        write_records(folder / "records.jsonl", adaptive())
        rate = "0" if case == "outage" else "inf"
        text = f"monotonic_s,t_s,up_mbps,down_mbps\n1000,0,{rate},{rate}\n1010,10,{rate},{rate}\n"
        (folder / "truth-host0.csv").write_text(text, encoding="utf-8")
    assert kimad(folder, "--json") == 0
    json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    check_page(folder / "report.html")
    assert said in (folder / "report.html").read_text(encoding="utf-8")


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    name = '"><script>alert(1)</script>$\\frac{_%'
    lines = [step(i).to_json() for i in range(3)]
    for line in lines:
        line["layers"] = [{"name": name, "codec": name, "density": 0.5, "frame_bytes": 1}]
    folder = write_run(tmp_path / "$_<i>", [], config={**CONFIG, "command": name, "link": name, "cores": name})
    (folder / "records.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert kimad(folder) == 0
    check_page(folder / "report.html")


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "a", adaptive())
    cases: list[tuple[list[object], str]] = [
        ([], "Missing argument"),
        ([tmp_path / "none"], "does not exist"),
        ([tmp_path], "no run folder"),
        ([folder, "--out", tmp_path / "no" / "page.html"], "cannot be written"),
        ([folder, "--out", tmp_path], "is a directory"),
    ]
    for arguments, said in cases:
        assert kimad(*arguments) == 2
        output = capsys.readouterr()
        assert said in output.err
        assert output.out == ""
        assert len(output.err.splitlines()) == 1
    assert not list(tmp_path.rglob("*.part"))


def test_matplotlib_is_an_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path, adaptive())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert kimad(folder) == 2
    assert "pip install 'kimad[plot]'" in capsys.readouterr().err
    assert not (folder / "report.html").exists()


def test_same_run_same_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", adaptive())
    pages = []
    for name in ("1.html", "2.html"):
        assert kimad(folder, "--out", tmp_path / name) == 0
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]
