"""A script runs under Kimad's worker as it runs alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from tests.launch.programs import kimad, plain, worker, write

pytestmark = [
    pytest.mark.dist,
    pytest.mark.torch,
    pytest.mark.skipif(sys.platform != "linux", reason="workers are tested on Linux"),
]


def test_arguments_paths_and_pickles_are_those_of_the_script(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 7\n", encoding="utf-8")
    body = """
    import pickle
    import beside
    class Thing:
        value = 3
    def square(x):
        return x * x
    if __name__ == "__main__":
        import multiprocessing
        print(sys.argv[1:], sys.path[0] == os.path.dirname(__file__), __file__, beside.VALUE)
        print(pickle.loads(pickle.dumps(Thing())).value, isinstance(DDP, type), DDP.__init__.__name__)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.map(square, [4]))
    """
    write(tmp_path / "script.py", body, train=False)
    alone = plain("script.py", "--a", "b c", cwd=tmp_path)
    ours = worker(tmp_path / "run", "script.py", "--a", "b c", cwd=tmp_path)
    assert ours.returncode == alone.returncode == 0, ours.stderr
    assert ours.stdout == alone.stdout


def test_traceback_and_exit_code_are_those_of_the_script(tmp_path: Path) -> None:
    """L5."""
    (tmp_path / "script.py").write_text("def f():\n    raise KeyError('x')\n\nf()\n", encoding="utf-8")
    alone = plain("script.py", cwd=tmp_path)
    ours = worker(tmp_path / "run", "script.py", cwd=tmp_path)
    assert ours.returncode == alone.returncode == 1
    assert ours.stderr == alone.stderr.replace('"script.py"', f'"{tmp_path}/script.py"')
    report = json.loads((tmp_path / "run" / "rank0.json").read_text(encoding="utf-8"))
    assert report["error"] == "KeyError"
    assert report["ended"]


def test_module_runs_as_with_dash_m(tmp_path: Path) -> None:
    """L4."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "other.py").write_text("VALUE = 5\n", encoding="utf-8")
    body = "import sys\nfrom . import other\nprint(__name__, __package__, other.VALUE, sys.argv[1:])\nsys.exit(3)\n"
    (package / "program.py").write_text(body, encoding="utf-8")
    done = worker(tmp_path / "run", "package.program", "-x", "1", cwd=tmp_path, module=True)
    assert done.stdout == "__main__ package 5 ['-x', '1']\n", done.stderr
    assert done.returncode == 3


def test_script_beside_a_file_named_like_the_standard_library(tmp_path: Path) -> None:
    """L6: the script's folder comes first on the path, but only once everything of ours is imported."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    for name in ("types.py", "json.py", "queue.py", "click.py"):
        (folder / name).write_text("raise ImportError('the wrong module')\n", encoding="utf-8")
    write(folder / "script.py", "print('ran')", train=False)
    done = worker(tmp_path / "run", "scripts/script.py", cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("ran\n", 0), done.stderr


def test_hooks_of_the_script_win(tmp_path: Path) -> None:
    """L1 and L3, and a model with another's hook beside one that is free."""
    body = """
    import io
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
    own = make()
    own.register_comm_hook(None, allreduce_hook)
    train(own, 2)
    free = make()
    torch.save(free, io.BytesIO())
    train(free, 2)
    if rank == 0:
        print(own._comm_hooks[0][0].__name__, type(free._comm_hooks[0][1]).__name__, isinstance(free, DDP))
    dist.destroy_process_group()
    """
    script = write(tmp_path / "script.py", body)
    done = kimad("run", "--nproc-per-node", "2", "--out", "out", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "allreduce_hook State True\n"
    assert done.stderr.count("the script registered allreduce_hook on this model: Kimad leaves it alone") == 2
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["ddp_models"], summary["attached"], summary["steps"]) == (2, 1, 2)


@pytest.mark.skipif(
    torch.version.cuda is not None and not torch.cuda.is_available(),
    reason="a torch that is built for CUDA makes no model of mixed precision without a device",
)
def test_mixed_precision_of_ddp_wins(tmp_path: Path) -> None:
    """It uses the hook for itself."""
    body = """
    import contextlib
    from torch.nn.parallel.distributed import _MixedPrecision
    mixed = make(mixed_precision=_MixedPrecision(param_dtype=torch.bfloat16))
    with contextlib.suppress(RuntimeError):  # torch cannot run it on a CPU; Kimad has seen it by then
        mixed(torch.randn(4, 256))
    dist.destroy_process_group()
    """
    script = write(tmp_path / "script.py", body)
    done = kimad("run", "--nproc-per-node", "2", "--out", "out", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("DDP(mixed_precision=...) uses the hook of this model: Kimad leaves it alone") == 2
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["ddp_models"], summary["attached"]) == (1, 0)


def test_spawned_processes_are_not_reached_and_it_is_said(tmp_path: Path) -> None:
    """L2."""
    body = """
    def child(rank):
        print(f"child {hasattr(DDP.__init__, '__wrapped__')}", flush=True)
    if __name__ == "__main__":
        print(f"parent {hasattr(DDP.__init__, '__wrapped__')}", flush=True)
        torch.multiprocessing.spawn(child, nprocs=1)
    """
    script = write(tmp_path / "script.py", body, train=False)
    done = kimad("run", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "parent True\nchild False\n"
    assert "made no DistributedDataParallel model in the processes started here" in done.stderr
    assert "call kimad.attach in them" in done.stderr
