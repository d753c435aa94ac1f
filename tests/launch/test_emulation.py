"""`kimad emulate` from end to end on each backend: what a script sees, what the run folder holds, what is left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kimad.launch.summary import read_records
from kimad.launch.truth import START_NAME, read_truth
from tests.launch.programs import environment, kimad, write

pytestmark = [
    pytest.mark.dist,
    pytest.mark.skipif(sys.platform != "linux", reason="namespaces need Linux"),
    pytest.mark.usefixtures("leaves_nothing"),
]

SEES = """
import json, socket
model = make(512)
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR")
seen = {name: os.environ[name] for name in names}
seen["interfaces"] = sorted(name for _, name in socket.if_nameindex())
train(model, 3, 512)
sums = [torch.empty(1) for _ in range(dist.get_world_size())]
dist.all_gather(sums, sum(p.detach().double().sum() for p in model.parameters()).float().reshape(1))
seen["sums"] = [value.item() for value in sums]
sys.stdout.write(json.dumps(seen) + "\\n")  # at once: print writes the end of the line by itself
dist.destroy_process_group()
"""


@pytest.mark.parametrize("backend", ["netns", "userns"])
def test_hosts_with_several_processes(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(backend)
    script = write(tmp_path / "script.py", SEES)
    options = ["--procs-per-host", "2", "--link", "const:100/const:80;const:60", "--backend", backend]
    done = kimad("emulate", "-n", "2", *options, "--out", "out", "--", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"by backend {backend}" in done.stderr
    assert "not modelled: latency, loss, a bottleneck" in done.stderr
    assert done.stderr.count("kept to the trace") == 4, done.stderr  # two hosts, two directions
    assert "cannot be retrieved" not in done.stderr  # torch on addresses without a name
    seen = sorted((json.loads(line) for line in done.stdout.splitlines()), key=lambda one: int(one["RANK"]))
    assert [one["LOCAL_RANK"] for one in seen] == ["0", "1", "0", "1"]
    assert [one["GROUP_RANK"] for one in seen] == ["0", "0", "1", "1"]
    assert {(one["WORLD_SIZE"], one["LOCAL_WORLD_SIZE"], one["MASTER_ADDR"]) for one in seen} == {
        ("4", "2", "10.77.0.1")
    }
    assert all(set(one["interfaces"]) >= {"km0", "lo"} and "br0" not in one["interfaces"] for one in seen)
    assert len({value for one in seen for value in one["sums"]}) == 1
    check_folder(tmp_path / "out", backend)


def check_folder(out: Path, backend: str) -> None:
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert (config["backend"], config["hosts"], config["procs_per_host"]) == (backend, 2, 2)
    assert (config["link"], config["queue_ms"], config["latency_ms"]) == ("const:100/const:80;const:60", 50, 0)
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert set(summary["links"]) == {"host 0 up", "host 0 down", "host 1 up", "host 1 down"}
    start_s = float((out / START_NAME).read_text(encoding="utf-8"))
    truth = read_truth(out)
    assert list(truth) == [0, 1]
    for rows, rates in ((truth[0], (100, 80)), (truth[1], (60, 60))):
        assert {(row.up_mbps, row.down_mbps) for row in rows} == {rates}
        assert rows[0].start_monotonic_s == pytest.approx(start_s, abs=1e-5)
        last = rows[-1]
        assert last.up_bytes is not None
        assert last.down_bytes is not None
        assert 0 < last.up_bytes <= rates[0] * 125e3 * last.t_s * 1.02 + 256 * 1024
        assert 0 < last.down_bytes <= rates[1] * 125e3 * last.t_s * 1.02 + 256 * 1024
    figures = read_records(out / "records.jsonl")
    assert figures is not None
    assert figures.steps == 3


@pytest.mark.usefixtures("netns")
@pytest.mark.torch
def test_two_models_and_a_group_of_the_script_share_the_link(tmp_path: Path) -> None:
    """Together they are no faster than the link, however they overlap: 41 Mbit a host at 40 Mbit/s."""
    body = """
    import threading, time
    models = [make(512), make(512)]
    group = dist.new_group()
    dist.barrier()
    began = time.monotonic()
    other = dist.all_reduce(torch.ones(600_000), group=group, async_op=True)
    for model in models:
        train(model, 1, 512)
    other.wait()
    sys.stdout.write(f"{time.monotonic() - began}\\n")
    dist.destroy_process_group()
    """
    script = write(tmp_path / "script.py", body)
    options = ["--link", "const:40", "--backend", "netns", "--objective", "fixed:float32", "--out", "out"]
    done = kimad("emulate", "-n", "2", *options, "--", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    payload_bits = 8 * (4 * 600_000 + 2 * 4 * 512 * 514)
    for seconds in map(float, done.stdout.split()):
        assert seconds >= 0.95 * (payload_bits - 8 * 64 * 1024) / 40e6
    assert done.stderr.count("kept to the trace") == 4, done.stderr


@pytest.mark.torch
def test_hook_is_bit_identical_to_plain_ddp(tmp_path: Path) -> None:
    body = """
    import hashlib, time
    model = make(512, bucket_cap_mb=0.5)
    began = time.monotonic()
    train(model, 3, 512)
    seconds = time.monotonic() - began
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    if rank == 0:
        print(digest.hexdigest(), flush=True)
        print(seconds, file=sys.stderr, flush=True)
    dist.destroy_process_group()
    """
    script = write(tmp_path / "script.py", body)
    options = ["--objective", "off", "--link", "const:50", "--out", "out", "--backend", "hook"]
    ours = kimad("emulate", "-n", "3", *options, "--", script, cwd=tmp_path)
    plain = kimad("run", "--nproc-per-node", "3", "--objective", "off", script, cwd=tmp_path)
    assert (ours.returncode, plain.returncode) == (0, 0), ours.stderr + plain.stderr
    assert ours.stdout == plain.stdout
    assert "all that Kimad does not send" in ours.stderr
    assert "plain DDP goes through Kimad's exchange" in ours.stderr
    seconds = next(float(line) for line in ours.stderr.splitlines() if line.replace(".", "").isdecimal())
    assert seconds >= 3 * 4 / 3 * 8 * 4 * 512 * 514 / 50e6 * 0.98  # three steps of 2 (N - 1)/N of the model
    truth = read_truth(tmp_path / "out")
    assert {(row.up_mbps, row.down_mbps) for rows in truth.values() for row in rows} == {(50.0, 50.0)}
    assert len(truth) == 3


def test_hook_that_had_nothing_to_shape_is_an_error(tmp_path: Path) -> None:
    body = """
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
    model = make()
    model.register_comm_hook(None, allreduce_hook)
    train(model, 1)
    dist.destroy_process_group()
    """
    script = write(tmp_path / "script.py", body)
    done = kimad("emulate", "-n", "2", "--link", "const:50", "--backend", "hook", "--", script, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "error: nothing was shaped: Kimad was attached to no model" in done.stderr


@pytest.mark.usefixtures("netns")
def test_what_the_kernel_refuses_ends_with_its_text(tmp_path: Path) -> None:
    """A link whose change is refused; the run itself is well."""
    body = """
    from kimad.launch.testbed import shaping
    from kimad.launch.cli import main
    good = shaping.commands
    def commands(device, mbps, path, *, first, delay):
        return good(device, mbps, path, first=first, delay=delay) if first else ["qdisc change dev nowhere root pfifo"]
    import kimad.launch.testbed.bed as bed
    bed.commands = commands
    main(sys.argv[1:])
    """
    (tmp_path / "launcher.py").write_text("import sys\n" + "\n".join(line[4:] for line in body.splitlines()))
    script = write(tmp_path / "script.py", "model = make()\ntrain(model, 3)\nimport time\ntime.sleep(0.5)")
    options = ["-n", "2", "--link", "sine:10,90,1", "--backend", "netns", str(script)]
    call = [sys.executable, "launcher.py", "emulate", *options]
    done = subprocess.run(
        call, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "kimad emulate: error: the kernel refused: Cannot find device" in done.stderr


@pytest.mark.usefixtures("netns")
def test_workers_that_are_started_anew_find_the_link_as_it_was(tmp_path: Path) -> None:
    body = """
    model = make()
    train(model, 2)
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        sys.exit(3)
    sys.stdout.write(os.environ["MASTER_PORT"] + "\\n")
    dist.destroy_process_group()
    """
    script = write(tmp_path / "script.py", body)
    options = ["--max-restarts", "1", "--link", "const:100", "--backend", "netns", "--out", "out"]
    done = kimad("emulate", "-n", "2", *options, "--", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["20001", "20001"]
    starts = {round(row.start_monotonic_s, 4) for rows in read_truth(tmp_path / "out").values() for row in rows}
    assert len(starts) == 1


@pytest.mark.usefixtures("userns")
def test_without_privilege(nobody: list[str], tmp_path: Path) -> None:
    """`--check`, and a run that takes the user namespace by itself."""
    call = [*nobody, "-m", "kimad.launch", "emulate"]
    check = subprocess.run([*call, "--check"], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert check.returncode == 0, check.stderr
    lines = [line.split(maxsplit=2) for line in check.stdout.splitlines()]
    assert lines[0] == ["netns", "no", "it needs root"]
    assert [line[:2] for line in lines[1:4]] == [["userns", "works"], ["pace", "works"], ["hook", "works"]]
    assert lines[4] == ["auto", "takes", "userns"]
    write(tmp_path / "script.py", "train(make(), 3)\ndist.destroy_process_group()")
    options = ["-n", "2", "--link", "const:100", "--out", "out", "script.py"]
    done = subprocess.run([*call, *options], cwd=tmp_path, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stderr
    assert "backend netns is not taken: it needs root" in done.stderr
    assert "by backend userns" in done.stderr
    assert done.stderr.count("kept to the trace") == 4, done.stderr
    assert len(read_truth(tmp_path / "out")) == 2
