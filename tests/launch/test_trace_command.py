"""`kimad trace`: what it prints, what it writes, and one line with exit code 2 for what it cannot use."""

from __future__ import annotations

import io
import json
import random
import sys
from pathlib import Path

import pytest

from kimad.launch.cli import main
from kimad.launch.trace_show import printable, table
from kimad.trace import Steps, parse_link, read_trace
from kimad.trace.figures import BLOCKS, MARKS, figures, sparkline
from tests.unit.test_trace_fuzz import bad_spec
from tests.unit.traces import GOLDEN, golden


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kimad(*arguments: object) -> int:
    """Exit code of `kimad trace`."""
    with pytest.raises(SystemExit) as caught:
        main(["trace", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_figures_are_weighted_by_time() -> None:
    found = figures(Steps.lasting([1, 8, 1], [100, 10, 0]))
    assert found.mean_mbps == pytest.approx(18)
    assert found.quantiles_mbps == (0, 10, 10, 10, 100)
    assert (found.min_mbps, found.max_mbps, found.zero_share, found.seconds) == (0, 100, 0.1, 10)
    assert found.total_bytes == pytest.approx(22.5e6)


def test_sparkline_shows_the_shape() -> None:
    ramp = Steps.lasting([1] * 9, range(9)).rates_mbps
    assert sparkline(ramp) == "_▁▂▃▄▅▆▇█"
    assert sparkline(ramp, MARKS) == "_.:-=+*#@"
    assert sparkline(ramp * 0) == "_" * 9
    assert len(BLOCKS) == len(MARKS)


@pytest.mark.parametrize("name", [name for name in GOLDEN if name != "table.csv"])
def test_show_a_file(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kimad("show", golden(name), "--json") == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert found["mean_mbps"] * 1e6 == pytest.approx(GOLDEN[name][1])
    assert found["seconds"] == pytest.approx(GOLDEN[name][2])
    assert output.err == ""
    assert kimad("show", golden(name), "--format", GOLDEN[name][0].name, "--seconds", 2 * GOLDEN[name][2]) == 0
    assert f"{found['mean_mbps']:.6g} Mbit/s" in capsys.readouterr().out


def test_show_and_json_have_the_same_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert kimad("show", "walk:0,100,60,3") == 0
    text = capsys.readouterr().out
    assert kimad("show", "walk:0,100,60,3", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    for key in ("mean", "min", "max", "p5", "p25", "p50", "p75", "p95"):
        assert f"{found[f'{key}_mbps']:.6g} Mbit/s" in text
    assert f"{found['zero_share']:.1%}" in text
    assert found["zero_share"] > 0


def test_show_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    columns = ("--time-col", "When", "--rate-col", "Speed", "--rate-unit", "kB/s")
    assert kimad("show", golden("table.csv"), *columns) == 0
    assert "5.6 Mbit/s" in capsys.readouterr().out
    assert kimad("convert", golden("table.csv"), "t.trace", *columns) == 0
    assert parse_link("t.trace").mean_mbps(0, 5) == pytest.approx(5.6)
    assert kimad("show", golden("native.trace"), *columns) == 2
    assert "is of format native, but columns or units are for csv" in capsys.readouterr().err


def test_a_pipe_gets_plain_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert kimad("show", "sine:0,100,10") == 0
    assert any(block in capsys.readouterr().out for block in BLOCKS)
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", plain)
    assert kimad("show", "sine:0,100,10") == 0
    plain.flush()
    assert isinstance(plain.buffer, io.BytesIO)
    written = plain.buffer.getvalue()
    assert b"@" in written
    assert b"\x1b" not in written
    assert printable("tür\x1b[1m") == "t?r?[1m"
    assert "\x1b" not in table({"\x1b[31mred": figures(Steps.lasting([1], [1]))})


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_plot(suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="plots need the extra kimad[plot]")
    assert kimad("show", "walk:30,330,40", "--out", f"a.{suffix}") == 0
    first = Path(f"a.{suffix}").read_bytes()
    assert len(first) > 2000
    assert kimad("show", "walk:30,330,40", "--out", f"a.{suffix}") == 2
    assert "exists" in capsys.readouterr().err
    if suffix == "png":
        assert first.startswith(b"\x89PNG")
        assert kimad("show", "walk:30,330,40", "--out", f"a.{suffix}", "--force") == 0
        assert Path(f"a.{suffix}").read_bytes() == first
    assert [path.name for path in Path().iterdir()] == [f"a.{suffix}"]


def test_a_plot_without_matplotlib_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert kimad("show", "const:1", "--out", "a.png") == 2
    assert "pip install 'kimad[plot]'" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_convert_tells_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    assert kimad("convert", golden("pensieve.txt"), "a.mahi", "--json") == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert (found["in"]["format"], found["out"]["format"]) == ("pensieve", "mahimahi")
    assert abs(found["in"]["bytes"] - found["out"]["bytes"]) <= 1500
    assert "rounding to packets" in output.err
    assert kimad("convert", "a.mahi", "a.pensieve") == 0
    assert kimad("convert", "a.pensieve", "b", "--from", "pensieve", "--to", "sabre") == 0
    assert json.loads(Path("b").read_text(encoding="utf-8"))[0]["latency_ms"] == 0
    assert read_trace("b").mean_mbps(0, 4) * 4 == pytest.approx(7, abs=0.012)


def test_generate_is_the_link_and_always_the_same() -> None:
    for name in ("a.trace", "b.trace"):
        assert kimad("generate", "walk:30,330,20,7", "--seconds", 100, "--out", name) == 0
    assert Path("a.trace").read_bytes() == Path("b.trace").read_bytes()
    assert read_trace("a.trace").means(0, 1, 100) == pytest.approx(parse_link("walk:30,330,20,7").means(0, 1, 100))


def test_generate_joins_and_scales() -> None:
    arguments = ("generate", "const:10", "square:0,40,2", "--concat", "--scale", 0.5, "--out")
    assert kimad(*arguments, "a.csv", "--seconds", 3, "--seconds", 4) == 0
    assert read_trace("a.csv") == Steps.lasting([3, 1, 1, 1, 1], [5, 0, 20, 0, 20], "a.csv")
    assert kimad(*arguments, "b.json", "--seconds", 2, "--step", 0.5) == 0
    assert read_trace("b.json").mean_mbps(0, 4) == pytest.approx(7.5)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "Missing command"),
        ("bogus", "No such command"),
        ("show", "Missing argument 'SPEC'"),
        ("show none.txt", "no such file exists; allowed: const:MBPS"),
        ("show const:1 --seconds -1", "seconds is -1"),
        ("show const:1 --seconds nan", "seconds is nan"),
        ("show const:1 --format pensieve", "trace 'const:1': there is no such file"),
        ("show good.trace --format mahimah", "format 'mahimah' is not known; allowed: native"),
        ("show good.trace --format pensieve", "line 1: it has 3 columns"),
        ("show bad.txt", "trace 'bad.txt', line 2: time 0 is not after 0; times must rise"),
        ("show good.trace --out new.txt", "ends in .png, .svg, .pdf"),
        ("show good.trace --out none/new.png", "its folder does not exist"),
        ("convert good.trace", "Missing argument 'OUT'"),
        ("convert good.trace new", "its suffix tells no format"),
        ("convert good.trace good.trace", "exists"),
        ("convert good.trace new.x --to hsdpa", "format hsdpa is not written: it needs positions"),
        ("convert good.trace new.x --to what", "allowed: native, mahimahi"),
        ("convert bad.txt new.trace", "line 2"),
        ("convert good.trace new.trace --rate-unit stones", "allowed: bit/s, kbit/s"),
        ("generate const:1 --out new.trace", "Missing option '--seconds'"),
        ("generate const:1 --seconds 5", "Missing option '--out'"),
        ("generate const:1 const:2 --seconds 5 --out new.trace", "join them by --concat"),
        ("generate const:1 --seconds 5 --seconds 6 --out new.trace", "--seconds is given 2 times"),
        ("generate a --concat --seconds 5 --seconds 6 --out new.trace", "no known kind"),
        ("generate const:1 --concat --seconds 5 --seconds 6 --out new.trace", "give one, or one each"),
        ("generate const:1 --seconds 5 --scale -2 --out new.trace", "FACTOR is -2"),
        ("generate sine:1,2,0.001 --seconds 1e8 --out new.trace", "give fewer seconds, or a longer step"),
        ("generate const:1 --seconds 5 --step 1e-9 --out new.trace", "step is 1e-09"),
        ("generate const:900 --seconds 1e5 --out new.mahi", "write native"),
        ("generate const:1 --seconds 5 --out none/new.trace", "its folder does not exist"),
    ],
)
def test_bad_input_is_one_line(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("good.trace").write_text("# kimad-trace v1\ntime_s,mbps\n0,5\n2,\n", encoding="utf-8")
    Path("bad.txt").write_text("0 1\n0 2\n", encoding="utf-8")
    assert kimad(*line.split()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("kimad trace: ")
    assert said in output.err
    assert output.err.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["bad.txt", "good.trace"]


def test_generated_bad_specs_end_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    dice = random.Random(5)
    refused = 0
    while refused < 200:
        code = kimad("show", "--seconds", 1, "--", bad_spec(dice).replace("\0", ""))
        output = capsys.readouterr()
        assert code in (0, 2), output.err
        if code == 2:
            refused += 1
            assert output.err.count("\n") == 1
            assert output.out == ""
