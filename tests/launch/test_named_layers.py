"""`--dense` and `--weight`: from the command line to every model of the script."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from kimad import Config, Fixed
from kimad.launch.job import Job
from kimad.launch.settings import for_model, parse_settings
from tests.launch.programs import kimad, write

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="workers are tested on Linux")


def test_what_is_typed_becomes_a_config() -> None:
    config = parse_settings("fixed:topk:0.01", ["*.bias", "norm.*"], [])
    assert config == Config(Fixed("topk", 0.01, "log4"), dense=("*.bias", "norm.*"))
    assert parse_settings("progress", [], ["a=b=2", "*=1e-3"]).weight == (("a=b", 2.0), ("*", 0.001))


def test_a_job_there_and_back(tmp_path: Path) -> None:
    job = Job("progress", "train.py", False, ("1", "2"), dense=("*.bias",), weight=("a=2", "b=3"))
    assert Job.read(job.write(tmp_path, {})) == job


def test_each_model_has_the_patterns_that_are_about_it() -> None:
    given = Config(dense=("*.bias", "router.*", "stem.*"), weight={"head.*": 2.0, "router.*": 4.0})
    own, known = {"router.weight", "router.bias"}, {"router.weight", "router.bias", "head.weight", "head.bias"}
    mine = for_model(given, own, known)
    assert mine.dense == ("*.bias", "router.*", "stem.*"), "one that matches no model at all stays, to be refused"
    assert mine.weight == (("router.*", 4.0),)
    other = for_model(given, known - own, known)
    assert other.dense == ("*.bias", "stem.*")
    assert other.weight == (("head.*", 2.0),)


TWO = """
first = make()
second = DDP(torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64), torch.nn.Linear(64, 1)))
train(first, 3)
train(second, 3, 64)
dist.destroy_process_group()
"""


@pytest.mark.dist
@LINUX
def test_layers_that_are_named_travel_whole(tmp_path: Path) -> None:
    script = write(tmp_path / "script.py", TWO)
    line = ["run", "--nproc-per-node", "2", "--objective", "fixed:topk:0.01", "--dense", "*.bias", "--dense", "2.*"]
    done = kimad(*line, "--out", "out", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for folder, layers in (("out", 4), ("out/model2", 6)):
        for text in (tmp_path / folder / "records.jsonl").read_text(encoding="utf-8").splitlines():
            codecs = {layer["name"]: layer["codec"] for layer in json.loads(text)["layers"]}
            assert len(codecs) == layers
            whole = {name for name, codec in codecs.items() if codec == "float32"}
            assert whole == {name for name in codecs if name.endswith(".bias") or name.startswith("2.")}
    job = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["job"]
    assert job["dense"] == ["*.bias", "2.*"]


@pytest.mark.dist
@LINUX
def test_a_pattern_of_no_model_ends_the_run(tmp_path: Path) -> None:
    script = write(tmp_path / "script.py", "train(make(), 2)\ndist.destroy_process_group()")
    done = kimad("run", "--nproc-per-node", "2", "--weight", "rooter.*=4", script, cwd=tmp_path)
    assert done.returncode != 0, done.stderr
    assert "ConfigError: weight pattern 'rooter.*' matches none of the 4 parameters" in done.stderr
