"""Networks of namespaces: what they deliver, that they touch nothing else, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks.goodput import POSSIBLE, Flow, flow, traced_share
from kimad.launch.leftovers import clean_up
from kimad.launch.testbed import Player, Testbed, TestbedError
from kimad.launch.testbed.bed import remove
from kimad.launch.testbed.names import NETNS, host_name
from kimad.launch.testbed.owner import OWNERS
from kimad.launch.testbed.player import Cell
from kimad.launch.testbed.shaping import burst_bytes, queue_bytes
from kimad.trace import HostLink, parse_link
from tests.source import ROOT

pytestmark = [
    pytest.mark.dist,
    pytest.mark.skipif(sys.platform != "linux", reason="network namespaces need Linux"),
    pytest.mark.usefixtures("netns"),
]


def namespaces() -> set[str]:
    return set(os.listdir(NETNS)) if NETNS.is_dir() else set()


def interfaces() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def test_nothing_of_it_is_seen_outside_and_nothing_is_left() -> None:
    before = namespaces(), interfaces()
    with Testbed(3) as bed:
        assert len(namespaces() - before[0]) == 4
        assert interfaces() == before[1]
        child = bed.popen(2, [sys.executable, "-c", "import time; time.sleep(60)"])
        routes = bed.popen(0, ["ip", "route"], stdout=subprocess.PIPE, text=True).communicate()[0]
        assert [line.split()[0] for line in routes.splitlines()] == ["10.77.0.0/24"]
        bed.set_rate(1, up_mbps=10, down_mbps=20)
    assert child.poll() is not None
    assert (namespaces(), interfaces()) == before
    assert bed.complaints == ""
    bed.close()


def test_processes_that_a_program_left_in_it_are_ended() -> None:
    with Testbed(1) as bed:
        program = (
            "import subprocess\n"
            "print(subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=subprocess.DEVNULL).pid)\n"
        )
        text, _ = bed.popen(0, [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True).communicate()
        os.kill(int(text), 0)
    limit_s = time.monotonic() + 5
    while Path(f"/proc/{int(text)}").exists() and "Z" not in Path(f"/proc/{int(text)}/stat").read_text():
        assert time.monotonic() < limit_s
        time.sleep(0.02)


def test_what_is_not_its_own_is_refused() -> None:
    with Testbed(1) as bed, Testbed(1) as other:
        for foreign in ("", "default", "kimad-deadbeef-h0", host_name(other.tag, 0)):
            with pytest.raises(TestbedError, match="refused"):
                bed._ip(foreign, ["link set lo down"])
            with pytest.raises(TestbedError, match="refused"):
                bed._shape(foreign, "lo", 10, delay=False)
        with pytest.raises(TestbedError, match="refused"):
            bed._create(host_name(other.tag, 0))
        with pytest.raises(TestbedError, match="refused"):
            remove("default")
        for host in (-1, 1):
            with pytest.raises(TestbedError, match=f"no host {host}"):
                bed.popen(host, ["true"])
        remove(host_name("deadbeef", 0))  # gone already
        assert host_name(other.tag, 0) in namespaces()


def test_hosts_are_limited() -> None:
    for hosts in (0, 201):
        with pytest.raises(TestbedError, match="allowed: 1 to 200"):
            Testbed(hosts)


def test_complaints_of_tc_are_kept_and_the_first_is_raised() -> None:
    with Testbed(1) as bed:
        bed.set_rate(0, up_mbps=10, down_mbps=10)
        bed._batches[host_name(bed.tag, 0)].send(["qdisc add dev nowhere root pfifo"])
    assert "nowhere" in bed.complaints
    with Testbed(1) as bed, pytest.raises(TestbedError, match="nowhere"):
        bed._shape(host_name(bed.tag, 0), "nowhere", 10, delay=False)


@pytest.mark.parametrize("mbps", [20.0, 200.0])
def test_constant_rate_that_is_set_anew_hands_out_nothing(mbps: float) -> None:
    """As tbf does. Every 20 ms."""
    stop = threading.Event()
    with Testbed(2) as bed:

        def replay() -> None:
            while not stop.wait(0.02):
                for host in range(2):
                    bed.set_rate(host, up_mbps=mbps, down_mbps=mbps)

        for host in range(2):
            bed.set_rate(host, up_mbps=mbps, down_mbps=mbps)
        thread = threading.Thread(target=replay)
        thread.start()
        try:
            got = flow(bed, 0, 1, 2.0)
        finally:
            stop.set()
            thread.join()
    assert bed.complaints == ""
    most = mbps * 125e3 * (got.end_s - got.start_s) * POSSIBLE
    assert 0.5 * most < got.count_bytes <= most + burst_bytes(mbps) + queue_bytes(mbps, 0.05)


def test_sine_is_not_overtaken() -> None:
    assert 0.5 < traced_share("sine:30,200,2", 2.0) < 1.02


@pytest.mark.parametrize("pairs", [((0, 1), (0, 2)), ((1, 0), (2, 0))], ids=["up", "down"])
def test_two_flows_share_a_link(pairs: tuple[tuple[int, int], ...]) -> None:
    """Two that send at once from one host, and two that one host receives at once."""
    with Testbed(3) as bed:
        for host in range(3):
            mbps = 30 if host == 0 else 1000
            bed.set_rate(host, up_mbps=mbps, down_mbps=mbps)
        flows: list[Flow] = []
        threads = [
            threading.Thread(target=lambda p=pair, n=port: flows.append(flow(bed, p[0], p[1], 2.0, port=n)))
            for port, pair in enumerate(pairs, 5301)
        ]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        start_s, before = time.monotonic(), bed.carried()[0]
        time.sleep(1.0)
        end_s, after = time.monotonic(), bed.carried()[0]
        for thread in threads:
            thread.join()
    assert len(flows) == 2
    carried = after.up_bytes - before.up_bytes if pairs[0][0] == 0 else after.down_bytes - before.down_bytes
    most = 30 * 125e3 * (end_s - start_s)
    assert 0.5 * most < carried <= most + burst_bytes(30) + 64 * 1024  # frames that the kernel sends as one


def test_player_follows_its_traces_and_tells_what_they_did() -> None:
    # not every second: a connection's first packet that an outage swallows is sent again 1, 3 and 7 s later
    outage, steady = parse_link("outage:50,0.7,0.3"), parse_link("const:25")
    cells: list[Cell] = []
    with Testbed(2) as bed:
        player = Player(bed, [HostLink(outage, outage), HostLink(steady, steady)], 0.05, cells.append)
        start_s = time.monotonic() + 0.05
        player.start(start_s)
        flow(bed, 1, 0, 1.2, skip_s=0.1)
        player.stop()
        player.stop()
    assert player.failure is None
    assert bed.complaints == ""
    assert cells[0].monotonic_s >= start_s
    assert [cell.t_s for cell in cells] == sorted(cell.t_s for cell in cells)
    for cell in cells[:-1]:
        index = int(cell.t_s / 0.05 + 1e-6)
        assert cell.up_mbps == (outage.mean_mbps(index * 0.05, (index + 1) * 0.05), 25.0)
    assert any(cell.up_mbps[0] == 0 for cell in cells)  # a true zero, whatever the kernel can do
    carried = cells[-1].carried
    most = 125e3 * outage.mean_mbps(0, cells[-1].t_s) * cells[-1].t_s
    assert 0 < carried[0].down_bytes <= most * 1.02 + 128 * 1024
    assert carried[0].up_bytes < carried[1].up_bytes


def test_player_without_a_network_says_so() -> None:
    steady = parse_link("sine:1,30,1")
    with Testbed(1) as bed:
        player = Player(bed, [HostLink(steady, steady)], 0.05, lambda cell: None)
        player.start(time.monotonic())
    time.sleep(0.2)
    player.stop()
    assert player.failure is not None


ABANDONED = """
import os, sys, time
from kimad.launch.testbed import Testbed
bed = Testbed(2).__enter__()
bed.popen(0, ["sleep", "60"])
print(bed.tag, flush=True)
time.sleep(60)
"""


def start_and_abandon() -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", ABANDONED],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_clean_up_removes_what_a_killed_owner_left_and_nothing_else() -> None:
    living, living_tag = start_and_abandon()
    killed, killed_tag = start_and_abandon()
    try:
        with Testbed(1) as own:
            killed.kill()
            killed.wait()
            assert host_name(killed_tag, 1) in namespaces()
            left = clean_up()
            assert set(left.namespaces) >= {f"kimad-{killed_tag}-{part}" for part in ("br", "h0", "h1")}
            assert left.failures == []
            assert not [name for name in namespaces() if killed_tag in name]
            assert not (OWNERS / killed_tag).exists()
            assert {host_name(own.tag, 0), host_name(living_tag, 1)} <= namespaces()
            assert not {own.tag, living_tag} & {name.split("-")[1] for name in left.namespaces}
    finally:
        living.send_signal(signal.SIGTERM)  # the default: it does not clean up either
        living.wait()
        clean_up()
        for process in (living, killed):
            assert process.stdout is not None
            process.stdout.close()
    assert not [name for name in namespaces() if living_tag in name]


def test_namespace_without_an_owner_file_is_left_alone() -> None:
    with Testbed(1) as bed:
        moved = OWNERS / "moved-away"
        os.rename(OWNERS / bed.tag, moved)
        try:
            command = [sys.executable, "-m", "kimad.launch", "emulate", "--cleanup", "--json"]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
            assert done.returncode == 0, done.stderr
            assert not [name for name in json.loads(done.stdout)["namespaces"] if bed.tag in name]
            assert host_name(bed.tag, 0) in namespaces()
        finally:
            os.rename(moved, OWNERS / bed.tag)


def test_hosts_fill_their_links_by_reno() -> None:
    """bbr, which some systems have as the default, loses up to 8 % where both directions are full."""
    with Testbed(2) as bed:
        process = bed.popen(1, ["cat", "/proc/sys/net/ipv4/tcp_congestion_control"], stdout=subprocess.PIPE, text=True)
        assert process.communicate(timeout=20)[0].strip() == "reno"
    with pytest.raises(TestbedError, match="allowed here: reno"):
        Testbed(1, congestion_control="no-such").__enter__()
