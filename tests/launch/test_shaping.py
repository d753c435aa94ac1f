"""The commands that shape a link, word by word, and what may be named by them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kimad.launch.testbed import names, probe
from kimad.launch.testbed.names import TestbedError, bridge_name, host_name, require_form, tag_of
from kimad.launch.testbed.player import Setting
from kimad.launch.testbed.shaping import Path, burst_bytes, commands, kbit, queue_bytes
from kimad.trace import Steps, parse_link


def test_first_commands() -> None:
    assert commands("km0", 100, Path(), first=True, delay=True) == [
        "qdisc add dev km0 root handle 1: htb default 1",
        "class add dev km0 parent 1: classid 1:1 htb"
        " rate 100000kbit ceil 100000kbit burst 50000 cburst 50000 quantum 1514",
        "qdisc add dev km0 parent 1:1 handle 10: bfifo limit 675000",
    ]


def test_change_keeps_the_queue_in_seconds() -> None:
    assert commands("p0", 1, Path(queue_s=0.2), first=False, delay=False) == [
        "class change dev p0 parent 1: classid 1:1 htb"
        " rate 1000kbit ceil 1000kbit burst 16384 cburst 16384 quantum 1514",
        "qdisc change dev p0 parent 1:1 handle 10: bfifo limit 41384",
    ]


def test_latency_and_loss_stand_before_the_rate_on_one_side() -> None:
    path = Path(latency_s=0.02, loss=0.005)
    assert path.needs_netem
    assert commands("km0", 10, path, first=True, delay=True)[:2] == [
        "qdisc add dev km0 root handle 2: netem limit 100000 delay 20ms loss 0.5%",
        "qdisc add dev km0 parent 2:1 handle 1: htb default 1",
    ]
    assert commands("p0", 10, path, first=True, delay=False)[0] == "qdisc add dev p0 root handle 1: htb default 1"
    assert len(commands("km0", 10, path, first=False, delay=True)) == 2


@pytest.mark.parametrize(("mbps", "wanted"), [(0, 8), (0.001, 8), (0.0099, 9), (0.1, 100), (1000, 1_000_000)])
def test_rate_is_never_above_what_was_asked_for_but_for_the_floor(mbps: float, wanted: int) -> None:
    assert kbit(mbps) == wanted


def test_burst_and_queue() -> None:
    assert burst_bytes(0) == 16384
    assert burst_bytes(1000) == 500_000
    assert queue_bytes(0, 0.05) == 4 * 1514 + 16384


@pytest.mark.parametrize("name", ["", "default", "kimad-x-h0", "kimad-deadbeef-h0; true", "kimad-deadbeef-h", "../etc"])
def test_names_of_others_are_refused(name: str) -> None:
    with pytest.raises(TestbedError, match="refused"):
        require_form(name)
    assert tag_of(name) is None


def test_own_names_are_known() -> None:
    for name in (bridge_name("0123abcd"), host_name("0123abcd", 199)):
        require_form(name)
        assert tag_of(name) == "0123abcd"


def test_failure_of_a_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TestbedError, match="failed: oh no"):
        names.call([sys.executable, "-c", "import sys; sys.exit('oh no')"])
    with pytest.raises(TestbedError, match="could not run"):
        names.call(["no-such-program-anywhere"])
    with pytest.raises(TestbedError, match="failed: careful"):
        names.call([sys.executable, "-c", "import sys; print('careful', file=sys.stderr)"], given="")
    monkeypatch.setattr(names, "COMMAND_LIMIT_S", 0.1)
    with pytest.raises(TestbedError, match="could not run"):
        names.call([sys.executable, "-c", "import time; time.sleep(20)"])


def test_probe_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "tool", lambda name: None)
    assert probe.netns(Path()) == "ip, tc not found; install iproute2 and util-linux"
    assert probe.userns(Path()) == "ip, tc, unshare, mount not found; install iproute2 and util-linux"
    monkeypatch.setattr(probe, "tool", lambda name: name)
    monkeypatch.setattr("kimad.launch.testbed.probe.os.geteuid", lambda: 1000)
    assert probe.netns(Path()) == "it needs root"
    monkeypatch.setattr("kimad.launch.testbed.probe.sys.platform", "darwin")
    assert probe.netns(Path()) == probe.userns(Path()) == "it needs Linux, this is darwin"


def test_probe_of_user_namespaces_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = subprocess.CompletedProcess([], 1, "", "unshare: unshare failed: Operation not permitted\n")
    monkeypatch.setattr(probe, "tool", lambda name: name)
    monkeypatch.setattr("kimad.launch.testbed.userns.subprocess.run", lambda *_, **__: refused)
    assert probe.userns(Path()) == "unshare: unshare failed: Operation not permitted"
    unknown = subprocess.CompletedProcess([], 2, "", "Error: Specified qdisc kind is unknown.\n")
    monkeypatch.setattr("kimad.launch.testbed.userns.subprocess.run", lambda *_, **__: unknown)
    assert probe.userns(Path()) == "this kernel has no htb"
    assert probe.userns(Path(latency_s=0.1)) == "this kernel has no netem, which latency and loss need"


def test_late_change_takes_back_what_was_too_much() -> None:
    """From 100 to 20 Mbit/s at 1 s, set 0.02 s late: 1.6 Mbit too much, more than the rest of the cell has."""
    link = Steps.lasting([1.0, 9.0], [100.0, 20.0])
    before = Setting(100.0, 100.0, 0.9)
    assert before.next(link, 20.0, now_s=1.0, end_s=1.1) == Setting(20.0, 20.0, 1.0)
    assert before.next(link, 20.0, now_s=1.002, end_s=1.1).rate_mbps == pytest.approx(20 - 0.16 / 0.098)
    setting, carried_mbit, now_s = before.next(link, 20.0, now_s=1.02, end_s=1.1), 12.0, 1.02
    assert setting.rate_mbps == 1.0
    for cell in range(11, 16):
        carried_mbit += setting.rate_mbps * (cell / 10 - now_s)
        now_s = cell / 10
        assert carried_mbit >= link.mean_mbps(0.9, now_s) * (now_s - 0.9) - 1e-9
        setting = setting.next(link, 20.0, now_s, now_s + 0.1)
    assert carried_mbit == pytest.approx(link.mean_mbps(0.9, 1.5) * 0.6)
    assert setting == Setting(20.0, 20.0, 1.5)


def test_late_change_does_not_make_up_for_what_was_too_little() -> None:
    link = Steps.lasting([1.0, 9.0], [20.0, 100.0])
    assert Setting(20.0, 20.0, 0.9).next(link, 100.0, now_s=1.05, end_s=1.1).rate_mbps == 100
    steady = parse_link("const:100")
    assert Setting(100.0, 100.0, 0.0).next(steady, 100.0, now_s=0.35, end_s=0.4).rate_mbps == 100
