"""Two models of one process over one link, trained by turns and at the same time."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.launch.conftest import leaves_nothing, netns
from tests.launch.programs import kimad, write

__all__ = ["leaves_nothing", "netns"]

pytestmark = [
    pytest.mark.dist,
    pytest.mark.skipif(sys.platform != "linux", reason="namespaces need Linux"),
    pytest.mark.usefixtures("leaves_nothing", "netns"),
]
LINK_BPS, PAYLOAD = 40e6, 1448 / 1514  # of a full Ethernet frame

BY_TURNS = """
import json, time
import kimad
large, small = make(1024), make(16)
config = kimad.Config(kimad.Progress(), outage_timeout_s=20)
first, second = kimad.attach(large, config), kimad.attach(small, config)
for step in range(12):
    if step == 6:
        time.sleep(0.5)  # of the large one's own
    train(large, 1, 1024)
    began_s = time.monotonic()
    for _ in range(2):
        train(small, 1, 16)
found = {name: [dict(measured=r.measured, link=vars(r.link) if hasattr(r.link, "__dict__") else
    {k: getattr(r.link, k) for k in r.link.__dataclass_fields__}) for r in state.records]
    for name, state in (("large", first), ("small", second))}
if rank == 0:
    sys.stdout.write(json.dumps(found) + "\\n")
first.close()
second.close()
dist.destroy_process_group()
"""

AT_ONCE = """
import json
import kimad
models = [make(1024), make(1024)]
config = kimad.Config(kimad.parse_objective("fixed:int8"), outage_timeout_s=20)
states = [kimad.attach(model, config) for model in models]
for _ in range(8):
    for model in models:
        model.zero_grad()
    sum(model(torch.randn(4, 1024)).square().mean() for model in models).backward()
found = [[(r.link.samples_bps, r.link.share, r.link.mean_bps) for r in state.records] for state in states]
if rank == 0:
    sys.stdout.write(json.dumps(found) + "\\n")
for state in states:
    state.close()
dist.destroy_process_group()
"""


def run(folder: Path, body: str) -> Any:
    script = write(folder / "script.py", body)
    options = ["--link", f"const:{LINK_BPS / 1e6:g}", "--backend", "netns", "--objective", "off", "--out", "out"]
    done = kimad("emulate", "-n", "2", *options, "--", script, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_by_turns_one_learns_from_the_other(tmp_path: Path) -> None:
    found = run(tmp_path, BY_TURNS)
    large, small = found["large"], found["small"]
    assert (len(large), len(small)) == (12, 24)
    assert {record["link"]["share"] for record in large + small} == {1.0}
    assert all(record["link"]["samples_bps"] == [None, None] for record in small), "too little to measure a link"
    known = [record["link"]["mean_bps"] for record in small[6:]]
    assert all(LINK_BPS / 3 < bps < 2 * LINK_BPS for bps in known)
    beside = [record["link"]["other_bps"] for record in large[4:] + small[4:]]
    assert beside.count(None) <= 2
    assert max(bps or 0.0 for bps in beside) < 0.1 * LINK_BPS, "one's traffic is no other program's"
    # A step of the small one does not hold the large one's, which took half a second longer once.
    assert max(record["measured"]["step_s"] for record in small[10:16]) < 0.5
    assert max(record["measured"]["step_s"] for record in large[5:8]) > 0.5


def test_at_once_each_measures_the_link_and_knows_its_share(tmp_path: Path) -> None:
    """Both send as much at the same time, so each has a part; without the other's bytes each would see 20 Mbit/s."""
    shares = []
    for records in run(tmp_path, AT_ONCE):
        seen = [bps for samples, _, _ in records[2:] for bps in samples]
        assert None not in seen
        assert statistics.median(seen) == pytest.approx(PAYLOAD * LINK_BPS, rel=0.15)
        shares.append(statistics.median(share for _, share, _ in records[2:]))
        assert records[-1][2] == pytest.approx(PAYLOAD * LINK_BPS, rel=0.2)
    assert 0.35 < min(shares) < 0.75
    assert statistics.fmean(shares) < 0.9, "TCP may give one of them more"
