"""Readers and writers of trace files: one golden file each, and a named error for whatever is wrong with a line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kimad.errors import KimadError
from kimad.trace import FORMATS, LinkError, Steps, TraceError, parse_link, read_trace
from kimad.trace.formats import recognise, text
from kimad.trace.formats.csv import Csv
from kimad.trace.formats.file import target_format, write_trace
from tests.unit.traces import GOLDEN, TABLE, WRITABLE, golden


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_mean_in_bits(name: str) -> None:
    form, mean_bps, seconds = GOLDEN[name]
    link = read_trace(str(golden(name)), form)
    assert link.end_s == pytest.approx(seconds, rel=1e-12)
    for periods in (1, 2, 13):
        assert link.mean_mbps(0, periods * seconds) * 1e6 == pytest.approx(mean_bps, rel=1e-12)
    assert link.mean_mbps(0.4, 5 * seconds + 0.4) * 1e6 == pytest.approx(mean_bps, rel=1e-9)
    assert link.means(0, seconds, 5) * 1e6 == pytest.approx([mean_bps] * 5, rel=1e-9)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_is_recognised(name: str) -> None:
    content = golden(name).read_text(encoding="utf-8")
    assert recognise(content, name).name == GOLDEN[name][0].name
    if name != "table.csv":
        path = str(golden(name))
        assert str(parse_link(path)) == path
        form = GOLDEN[name][0].name
        assert str(parse_link(f"{form}:{path}")) == f"{form}:{path}"
        assert parse_link(path).mean_mbps(1, 2) == parse_link(f"{form}:{path}").mean_mbps(1, 2)


def test_every_format_has_a_golden_file() -> None:
    assert {form.name for form, _, _ in GOLDEN.values()} == set(FORMATS)


def test_rates_hold_when_the_format_says(tmp_path: Path) -> None:
    native = read_trace(str(golden("native.trace")))
    assert [native.mbps(t) for t in (0, 9.9, 10, 20, 29, 30)] == [10, 10, 30, 0, 0, 10]
    pensieve = read_trace(str(golden("pensieve.txt")))
    assert [pensieve.mbps(t) for t in (0, 0.4, 0.5, 1.9, 2, 3.9)] == [4, 4, 0, 0, 2.5, 2.5]
    mahimahi = read_trace(str(golden("mahimahi.mahi")))
    assert mahimahi.mean_mbps(0, 0.001) == pytest.approx(36)
    assert [mahimahi.mbps(t) for t in (0.3, 0.45, 0.8, 0.95)] == pytest.approx([0, 0.12, 0, 0.12])
    path = tmp_path / "one"
    path.write_text("1\n", encoding="utf-8")
    assert read_trace(str(path)).mean_mbps(0, 5) == pytest.approx(12)


def test_a_log_without_a_position_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("1300000000 1000 - - 125000 1000\n", encoding="utf-8")
    assert read_trace(str(path)).mean_mbps(0, 1) == pytest.approx(1)


def test_positions_are_not_kept() -> None:
    for name, secret in (("hsdpa.log", "60.0"), ("ghent.log", "51.0")):
        steps = read_trace(str(golden(name)))
        for form in WRITABLE:
            assert secret not in FORMATS[form].write(steps)
        with pytest.raises(TraceError, match="not written: it needs positions"):
            FORMATS[GOLDEN[name][0].name].write(steps)


@pytest.mark.parametrize(
    ("unit", "mbps"),
    [("bit/s", 5e-6), ("kbit/s", 5e-3), ("Mbit/s", 5), ("Gbit/s", 5e3), ("B/s", 4e-5), ("kB/s", 4e-2), ("MB/s", 40)],
)
def test_units_of_a_table(unit: str, mbps: float, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('t,"the rate"\n0,5\n1,5\n', encoding="utf-8")
    assert read_trace(str(path), Csv("t", "the rate", unit)).mean_mbps(0, 2) == pytest.approx(mbps)


@pytest.mark.parametrize(
    ("content", "form", "mean_mbps", "seconds"),
    [
        ("time_ms,up_kbps,note\n500,1000,a\n1000,3000,b\n", Csv(), 2.0, 1.0),
        ("# made by hand\n\nTime_s;Mbps\n0;1\n2;4\n3;\n", Csv(), 2.0, 3.0),
        ("0,10\n1,30\n", Csv("1", "2", "Mbit/s"), 20.0, 2.0),
        (
            "t,r\n2024-05-01T12:00:00,4\n2024-05-01T12:00:03Z,8\n2024-05-01T12:00:04,\n",
            Csv("t", "r", "Mbit/s"),
            None,
            0,
        ),
        (
            "t,r\n2024-05-01T12:00:00,4\n2024-05-01 12:00:03.5,8\n2024-05-01T12:00:04,\n",
            Csv("t", "r", "Mbit/s"),
            4.5,
            4,
        ),
        ("Timestamp,DL\n2019.12.14_10.16.30,800\n2019.12.14_10.16.32,1600\n", Csv("1", "DL", "kbit/s"), 1.2, 4.0),
        ("\ufefftime_s\tmbps\r\n0\t7\r\n5\t9\r\n", None, 8.0, 10.0),
        ("a,b\n1000,5\n3000,5\n", Csv("a", "b", "MB/s", "ms"), 40.0, 4.0),
    ],
    ids=range(8),
)
def test_tables(content: str, form: Csv | None, mean_mbps: float | None, seconds: float, tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text(content, encoding="utf-8", newline="")
    if mean_mbps is None:  # one of the times names a zone, the others do not
        mean_mbps, seconds = 5.0, 4.0
    steps = read_trace(str(path), form)
    assert steps.end_s == pytest.approx(seconds)
    assert steps.mean_mbps(0, seconds) == pytest.approx(mean_mbps)


BAD = [
    ("native", "", 1, "empty"),
    ("native", "\n \n", 1, "empty"),
    ("native", "time_s,mbps\n0,1\n1,\n", 1, "must be '# kimad-trace v1'"),
    ("native", "# kimad-trace v2\ntime_s,mbps\n0,1\n1,\n", 1, "must be '# kimad-trace v1'"),
    ("native", "# kimad-trace v1\ntime_s,kbps\n0,1\n1,\n", 2, "must be 'time_s,mbps'"),
    ("native", "# kimad-trace v1\ntime_s,mbps\n", 2, "there are no steps"),
    ("native", "# kimad-trace v1\ntime_s,mbps\n0,1\n", 3, "add a last row"),
    ("native", "# kimad-trace v1\ntime_s,mbps\n0,1\n5,2\n", 4, "add a last row"),
    ("native", "# kimad-trace v1\ntime_s,mbps\n0,1\n0,2\n1,\n", 4, "times must rise"),
    ("native", "# kimad-trace v1\ntime_s,mbps\n0,1\n5,\n6,1\n7,\n", 5, "only the last row has no rate"),
    ("native", "# kimad-trace v1\ntime_s,mbps\n2,1\n5,\n", 3, "the first row's must be 0"),
    ("native", "# kimad-trace v1\ntime_s,mbps\n0,nan\n5,\n", 3, "mbps is nan"),
    ("native", "# kimad-trace v1\ntime_s,mbps\n0,-1\n5,\n", 3, "mbps is -1"),
    ("native", "# kimad-trace v1\ntime_s,mbps\n0,1e12\n5,\n", 4, "from 0 to 1e+09"),
    ("native", "# kimad-trace v1\ntime_s,mbps\n0,1\n5e300,\n", 4, "longer than 1e+09 s"),
    ("native", "# kimad-trace v1\ntime_s,mbps\n0,1,2\n5,\n", 3, "3 columns"),
    ("mahimahi", "0\n", 1, "has no length"),
    ("mahimahi", "0\n0\n0\n", 3, "has no length"),
    ("mahimahi", "5\n4\n", 2, "times must not fall"),
    ("mahimahi", "5\nx\n", 2, "no whole number"),
    ("mahimahi", "5\n6.5\n", 2, "no whole number"),
    ("mahimahi", "5\n-6\n", 2, "no whole number"),
    ("mahimahi", "5\n" + "9" * 5000, 2, "no whole number"),
    ("mahimahi", "5\n" + "9" * 15, 2, "longer than"),
    ("pensieve", "0 1\n", 1, "a second one is needed"),
    ("pensieve", "0 1\n1 2\n1 3\n", 3, "time 1 is not after 1"),
    ("pensieve", "0 1\n1 2\n0.5 3\n", 3, "times must rise"),
    ("pensieve", "0 1\n1 nan\n", 2, "rate in Mbit/s is nan"),
    ("pensieve", "0 1\ninf 2\n", 2, "time in seconds is inf"),
    ("pensieve", "0 1\n1 -2\n", 2, "rate in Mbit/s is -2"),
    ("pensieve", "0 1\n1 2 3\n", 2, "3 columns"),
    ("pensieve", "0 1\n1 two\n", 2, "'two', which is no number"),
    ("pensieve", "0 1\n1e-9 2\n", 2, "it must last at least"),
    ("pensieve", "999999999 1\n1000000000 1e10\n", 2, "the rate is 1e+10"),
    ("sabre", "{}", 1, "no JSON list"),
    ("sabre", "[]", 1, "the list is empty"),
    ("sabre", "[\n", 2, "no JSON"),
    ("sabre", "[\n1]", 2, "is no object"),
    ("sabre", '[\n{"duration_ms": 1}\n]', 2, "bandwidth_kbps is missing"),
    ("sabre", '[\n{"duration_ms": "1", "bandwidth_kbps": 1}\n]', 2, "duration_ms is '1', which is no number"),
    ("sabre", '[\n{"duration_ms": 1, "bandwidth_kbps": NaN}\n]', 2, "NaN is no number here"),
    ("sabre", '[\n{"duration_ms": 1, "bandwidth_kbps": 1e999}\n]', 2, "bandwidth_kbps is inf"),
    ("sabre", '[\n{"duration_ms": 1, "bandwidth_kbps": -1}\n]', 2, "bandwidth_kbps is -1"),
    ("sabre", '[\n{"duration_ms": 0, "bandwidth_kbps": 1}\n]', 2, "the step lasts 0 s"),
    ("sabre", '[\n{"duration_ms": 1, "bandwidth_kbps": 1},\n]', 3, "no JSON"),
    ("sabre", '[\n{"duration_ms": 1, "bandwidth_kbps": 1}\n\n{}]', 4, "there must be ','"),
    ("sabre", '[{"duration_ms": 1, "bandwidth_kbps": 1}]\n[', 1, "after the end of the list"),
    ("sabre", '[{"duration_ms": 1, "bandwidth_kbps": 1, "latency_ms": null}]', 1, "latency_ms is 'None'"),
    ("sabre", "[" * 100_000, 1, "nested too deeply"),
    ("hsdpa", "1 2 3 4 5\n", 1, "5 columns"),
    ("hsdpa", "1300000000 1 60 10 5 0\n", 1, "5 bytes in 0 ms"),
    ("hsdpa", "1300000000 1 60 10 0 0\n", 1, "no line has an elapsed time"),
    ("hsdpa", "1300000000 5 60 10 5 5\n1300000000 4 60 10 5 5\n", 2, "times must rise"),
    ("hsdpa", "1300000000 5 60 10 -5 5\n", 1, "bytes is -5"),
    ("ghent", "1449000000000 5 51 3 5 nan\n", 1, "elapsed ms is nan"),
    ("ghent", "1449000000000 5 51 3 5e30 5\n", 1, "the rate is"),
    ("csv", "a,b\n1,2\n", 1, "give --time-col, --rate-col and --rate-unit"),
    ("csv", "time_s,up_mbps,down_mbps\n1,2,3\n", 1, "do not tell what they hold"),
    ("csv", "time_s,mbps\n1,2\n", 2, "at least two rows"),
    ("csv", "time_s,mbps\n1,2\n1,3\n", 3, "times must rise"),
    ("csv", "time_s,mbps\n1,2\n2\n", 3, "1 columns; 2 are needed"),
    ("csv", "time_s,mbps\n1,\n2,3\n", 3, "only the last row may have none"),
    ("csv", "time_s,mbps\nyesterday,2\n2,3\n", 2, "neither a number nor a date-time"),
    ("csv", "time_s,mbps\n1,2\n2,inf\n", 3, "must be a finite number"),
    ("csv", 'time_s,mbps\n1,"' + "2" * 200_000 + '"\n', 2, "it is no CSV"),
    (None, "hello\n", 1, "'hello' is of no known format; name it if it has one: native:FILE"),
    (None, "1 2 3\n", 1, "of no known format"),
    (None, "ab\0c\n", 1, "of no known format"),
]


@pytest.mark.parametrize(("form", "content", "line", "said"), BAD, ids=range(len(BAD)))
def test_a_wrong_line_is_named(form: str | None, content: str, line: int, said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(TraceError) as caught:
        read_trace(str(path), form)
    message = str(caught.value)
    assert isinstance(caught.value, LinkError)
    assert isinstance(caught.value, KimadError)
    assert "bad.txt" in message
    assert f"line {line}: " in message
    assert said in message
    assert "\n" not in message
    assert len(message) < 500


def test_options_of_a_table_are_checked(tmp_path: Path) -> None:
    path = str(golden("table.csv"))
    assert read_trace(path, TABLE).mean_mbps(0, 5) == pytest.approx(5.6)
    for form, said in (
        (Csv("Nope", "Speed", "kB/s"), "line 2: --time-col is 'Nope'; allowed: 'When, Speed, Cell', or 1 to 3"),
        (Csv("When", "4", "kB/s"), "--rate-col is '4'"),
        (Csv("When", "Speed"), "does not tell its unit; give --rate-unit"),
        (Csv("When", "Cell", "kB/s"), "line 3: column 'Cell' is 'a'"),
    ):
        with pytest.raises(TraceError, match="trace ") as caught:
            read_trace(path, form)
        assert said in str(caught.value)
    for wrong in ({"rate_unit": "kbps"}, {"time_unit": "min"}):
        with pytest.raises(TraceError, match="allowed: "):
            Csv(**wrong)


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, said in ((tmp_path / "none", "no such file"), (tmp_path, "no such file"), (Path("/dev/zero"), "no such")):
        with pytest.raises(TraceError, match=said):
            read_trace(str(path))
    binary = tmp_path / "binary"
    binary.write_bytes(b"0 1\n1 2\n\xff\xfe\x00")
    with pytest.raises(TraceError, match="line 3: it is no text"):
        read_trace(str(binary))
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(text.MAX_BYTES + 1)
    with pytest.raises(TraceError, match="larger than 67108864 bytes"):
        read_trace(str(huge))
    monkeypatch.setattr(text, "MAX_LINES", 3)
    binary.write_text("1\n2\n3\n4\n", encoding="utf-8")
    with pytest.raises(TraceError, match="line 4: it has more than 3 lines"):
        read_trace(str(binary))
    with pytest.raises(TraceError, match="format 'mahi' is not known; allowed: native, mahimahi"):
        read_trace(str(binary), "mahi")


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps.lasting([1, 2], [3, 4])
    path = tmp_path / "a.trace"
    write_trace(steps, path, target_format(path, None), force=False)
    assert read_trace(str(path)).mean_mbps(0, 3) == steps.mean_mbps(0, 3)
    before = path.read_bytes()
    with pytest.raises(TraceError, match="exists; give another path, or --force"):
        write_trace(steps, path, FORMATS["native"], force=False)
    with pytest.raises(TraceError, match="is a folder"):
        write_trace(steps, tmp_path, FORMATS["native"], force=True)
    with pytest.raises(TraceError, match="its folder does not exist"):
        write_trace(steps, tmp_path / "no" / "a", FORMATS["native"], force=True)
    with pytest.raises(TraceError, match="its suffix tells no format"):
        target_format(tmp_path / "a.txt", None)

    def refuse(*paths: object) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(TraceError, match="cannot be written: not permitted"):
        write_trace(Steps.lasting([1], [1]), path, FORMATS["native"], force=True)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.trace"]


def test_too_much_is_not_written(tmp_path: Path) -> None:
    fast = Steps.lasting([1e6], [1e6])
    with pytest.raises(TraceError, match="more than are read again; write native"):
        FORMATS["mahimahi"].write(fast)
